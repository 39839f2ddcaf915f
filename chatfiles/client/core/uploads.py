"""
Uploads one file: in a form, to a path, or in several requests (reference/uploads, reference/writes,
reference/resumable).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from chatfiles.client.core.answers import as_object, as_path, integer, read_json, refusal, text
from chatfiles.client.core.context import Context, Limits
from chatfiles.client.core.digests import check_sha256
from chatfiles.client.core.errors import BadAnswer, ClientError, Unreachable
from chatfiles.client.core.form import Form, new_boundary
from chatfiles.client.core.names import VirtualPath, condition, last_segment, path_bytes, path_text
from chatfiles.client.core.progress import Callback
from chatfiles.client.core.steps import Body, Request, Send, Steps, local
from chatfiles.client.core.tus import send_resumable
from chatfiles.client.core.upload_source import Supply
from chatfiles.client.core.values import Stored
from chatfiles.client.local.source import Source, Uploadable, open_source

__all__ = ["upload"]

#: The name of a file that has none.
NAMELESS = b"file"
#: Maximum bytes of a response.
RESPONSE_LIMIT = 64 * 1024

_SCHEME = "workspace:"


def upload(
    context: Context,
    source: Uploadable,
    *,
    name: str | bytes | None,
    to: VirtualPath | None,
    if_match: str | None,
    if_absent: bool,
    resumable: bool | None,
    verify: bool,
    progress: Callback | None,
) -> Steps[Stored]:
    """:return: the operation ``upload``."""
    conditions = condition(if_match, if_absent=if_absent)
    if to is None and conditions:
        raise ValueError("if_match and if_absent need a path, to")
    if to is not None and name is not None:
        raise ValueError("a file that is uploaded to a path has the name that the path ends in")
    path = None if to is None else path_bytes(to)
    given = None if path is None else last_segment(path)
    if name is not None:
        given = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    target = _Target(path, given, conditions)
    return _Upload(context, target, resumable, verify).run(source, progress)


@dataclass(frozen=True, slots=True)
class _Target:
    path: bytes | None
    name: bytes | None
    conditions: dict[str, str]


class _Upload:
    def __init__(
        self, context: Context, target: _Target, resumable: bool | None, verify: bool
    ) -> None:
        self._context = context
        self._target = target
        self._resumable = resumable
        self._verify = verify

    def run(self, source: Uploadable, progress: Callback | None) -> Steps[Stored]:
        opened = yield from local(partial(open_source, source))
        try:
            reporter = self._context.progress(progress)
            supply = Supply(opened, reporter)
            stored = yield from self._send(supply, self._name(opened))
            if self._verify:
                check_sha256(expected=supply.sha256, actual=stored.sha256)
                if stored.size != supply.taken:
                    raise BadAnswer(f"{supply.taken} bytes were sent, {stored.size} are stored")
            reporter.end(supply.taken)
            return stored
        finally:
            opened.close()

    def _name(self, source: Source) -> bytes:
        own = source.name.encode("utf-8", "surrogateescape") if source.name else NAMELESS
        return self._target.name or own

    def _send(self, supply: Supply, name: bytes) -> Steps[Stored]:
        form = Form(name, supply, new_boundary())
        if (yield from self._is_resumable(supply, form)):
            return (yield from self._send_resumable(supply, name))
        if self._target.path is None:
            return (yield from self._send_form(form))
        return (yield from self._send_file(self._target.path, supply))

    def _is_resumable(self, supply: Supply, form: Form) -> Steps[bool]:
        if self._resumable is not None or supply.size is None:
            return bool(self._resumable)
        limits = yield from _limits(self._context)
        if limits is None:
            return False
        in_form = self._target.path is None and (form.body().length or 0) > limits.request
        return supply.size > limits.file or in_form

    def _send_form(self, form: Form) -> Steps[Stored]:
        headers = {"Content-Type": form.content_type}
        request = Request("POST", self._context.route("chat/uploads"), headers, form.body())
        value = yield from self._ask(request, form.supply)
        rows = value.get("files")
        if not isinstance(rows, list) or len(rows) != 1:
            raise BadAnswer("the response does not name the one file that was sent")
        row = as_object(rows[0])
        path = stored_path(text(row, "uri"))
        return self._stored(path, text(row, "uri"), text(row, "name"), row, form.supply)

    def _send_file(self, path: bytes, supply: Supply) -> Steps[Stored]:
        headers = {"Content-Type": "application/octet-stream", **self._target.conditions}
        body = Body(supply.size, supply.pieces)
        request = Request("PUT", self._context.route("fs/file", path), headers, body)
        value = yield from self._ask(request, supply)
        name = path_text(last_segment(path))
        return self._stored(path_text(path), None, name, value, supply)

    def _ask(self, request: Request, supply: Supply) -> Steps[dict[str, Any]]:
        with (yield Send(request)) as response:
            if response.status not in (200, 201):
                raise (yield from refusal(response, self._context.now()))
            if not supply.complete:
                raise BadAnswer("the response came before the file had been sent")
            return as_object((yield from read_json(response, RESPONSE_LIMIT)))

    def _stored(
        self, path: str, uri: str | None, name: str, row: dict[str, Any], supply: Supply
    ) -> Stored:
        # An older workspace sends no digest.
        sha256 = supply.sha256 if row.get("sha256") is None else text(row, "sha256")
        etag = None if row.get("etag") is None else text(row, "etag")
        return Stored(path, uri, name, integer(row, "size"), sha256, etag)

    def _send_resumable(self, supply: Supply, name: bytes) -> Steps[Stored]:
        target = self._target
        route = self._context.route("uploads", target.path)
        finished = yield from send_resumable(self._context, route, supply, name, target.conditions)
        uri = path_text(unquote_to_bytes(finished.uri))
        path = stored_path(uri)
        last = path.rpartition("/")[2]
        return Stored(
            path=path,
            uri=uri if target.path is None else None,
            # Files of the chat have 32 hexadecimal digits and a hyphen before their name.
            name=last[33:] if target.path is None else last,
            size=supply.taken,
            sha256=finished.sha256 or supply.sha256,
            etag=None,
        )


def stored_path(uri: str) -> str:
    """
    :return: the virtual path of a file.
    :raise BadAnswer: *uri* is not the URI of a file.
    """
    if not uri.startswith(_SCHEME + "/"):
        raise BadAnswer("the response does not say where the file is")
    return as_path(uri.removeprefix(_SCHEME))


def _limits(context: Context) -> Steps[Limits | None]:
    """:return: the limits of uploads in one request, asked for once; ``None`` if unknown."""
    if context.limits is None:
        try:
            _, value = yield from context.ask(Request("GET", "/uploads/limits"), (200,))
            limits = as_object(value)
            context.limits = Limits(
                integer(limits, "per_file_bytes"), integer(limits, "per_request_bytes")
            )
        except Unreachable:
            raise
        except ClientError:  # an older platform: it says so when it gets the file
            return None
    return context.limits
