"""
Sends one file in several requests (reference/resumable), as `ResumableUpload` decides.
"""

from __future__ import annotations

from chatfiles.client.core.answers import header, refusal
from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import (
    BadAnswer,
    ClientError,
    Incomplete,
    Refused,
    Unreachable,
)
from chatfiles.client.core.resumable_upload import (
    Finished,
    ResumableUpload,
    UntrustedResponse,
    UploadRequest,
    Verdict,
)
from chatfiles.client.core.retries import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT
from chatfiles.client.core.steps import Body, Emit, Request, Response, Send, Sleep, Steps
from chatfiles.client.core.upload_source import BLOCK, Supply

__all__ = ["WINDOW", "send_resumable"]

#: Bytes of a source that cannot be read again which are kept until the server has them.
WINDOW = 4 * 1024 * 1024


def send_resumable(
    context: Context, route: str, supply: Supply, name: bytes, conditions: dict[str, str]
) -> Steps[Finished]:
    """
    Send the bytes of *supply*.

    :param route: where uploads are created.
    :param name: of the file.
    :param conditions: headers of the creation.
    :return: the stored file.
    :raise ClientError: it was not stored.
    """
    return (yield from _Sending(context, route, supply, name, conditions).run())


class _Sending:
    def __init__(
        self,
        context: Context,
        route: str,
        supply: Supply,
        name: bytes,
        conditions: dict[str, str],
    ) -> None:
        self._context = context
        self._supply = supply
        self._upload = ResumableUpload(route, supply.size, {b"filename": name}, conditions)
        self._window = b""
        self._window_start = 0

    def run(self) -> Steps[Finished]:
        upload = self._upload
        while (request := upload.next()) is not None:
            if request.offset is not None and not self._supply.seekable:
                yield from self._fill(request.offset)
                request = upload.next() or request  # it may have got the length
            try:
                verdict, error = yield from self._exchange(request)
            except (Unreachable, Incomplete) as broken:
                if request.method == "POST":
                    raise
                verdict, error = upload.interrupted(), broken
            if verdict in (Verdict.AGAIN, Verdict.RESTARTED):
                yield from self._again(request, verdict, error)
            elif verdict is not Verdict.PROCEED:
                raise error or BadAnswer("the upload was refused")
        assert upload.finished is not None
        return upload.finished

    def _exchange(self, request: UploadRequest) -> Steps[tuple[Verdict, ClientError | None]]:
        body = None
        if request.offset is not None:
            if self._supply.seekable:
                yield from self._supply.seek(request.offset)
            body = self._body(request.offset)
        message = Request(request.method, request.url, request.headers, body)
        with (yield Send(message)) as response:
            return (yield from self._judge(request, response))

    def _judge(
        self, request: UploadRequest, response: Response
    ) -> Steps[tuple[Verdict, ClientError | None]]:
        sent = self._sent(request.offset)
        try:
            verdict = self._upload.received(
                response.status, lambda name: header(response, name), sent
            )
        except UntrustedResponse as error:
            raise BadAnswer(f"the response {error}") from error
        if verdict is Verdict.PROCEED:
            return verdict, None
        return verdict, (yield from refusal(response, self._context.now()))

    def _again(
        self, request: UploadRequest, verdict: Verdict, error: ClientError | None
    ) -> Steps[None]:
        wait = error.retry_after if isinstance(error, Refused) else None
        failures = self._upload.failures
        is_lost = verdict is Verdict.RESTARTED and not self._supply.seekable
        may_wait = (wait or 0) <= LONGEST_WAIT
        if request.method == "POST" or failures > self._context.retries or is_lost or not may_wait:
            raise error or BadAnswer("the upload is of another file")
        pause = FIRST_PAUSE * 2 ** min(failures - 1, 10)
        yield Sleep(min(pause, LONGEST_PAUSE) if wait is None else wait)

    # -- bodies

    def _body(self, offset: int) -> Body:
        if self._supply.seekable:
            return Body((self._supply.size or 0) - offset, self._supply.pieces)
        piece = self._window[offset - self._window_start :]
        return Body(len(piece), lambda: self._from_memory(piece, offset))

    def _from_memory(self, piece: bytes, offset: int) -> Steps[None]:
        for begin in range(0, len(piece), BLOCK):
            yield Emit(piece[begin : begin + BLOCK])
            self._supply.report(offset + begin)

    def _sent(self, offset: int | None) -> int:
        return 0 if offset is None else max(0, self._supply.taken - offset)

    def _fill(self, offset: int) -> Steps[None]:
        """Have the bytes behind *offset* in memory, of a source that cannot be read again."""
        end = self._window_start + len(self._window)
        if not self._window_start <= offset <= end:
            raise Incomplete("the server has lost bytes that cannot be read again", done=offset)
        if offset < end or self._supply.complete:
            return
        self._window, self._window_start = b"", offset
        pieces = bytearray()
        while len(pieces) < WINDOW and not self._supply.complete:
            piece = yield from self._supply.take(WINDOW - len(pieces))
            pieces += piece
            self._supply.complete = not piece
        self._window = bytes(pieces)
        if self._supply.complete:
            self._upload.end_at(self._supply.taken)
