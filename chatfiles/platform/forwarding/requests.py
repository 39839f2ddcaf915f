"""
The platform's requests to a workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.web.iweb import IBodyProducer

from chatfiles.platform.forwarding.accepted_response import ResponseForm
from chatfiles.platform.upstream.prepared import PreparedURL
from chatfiles.rules.header_fields import HeaderFields, HeaderValues
from chatfiles.rules.trace_context import TraceContext

__all__ = ["DownloadRequest", "OperationRequest", "PreparedRequest", "UploadRequest"]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """
    A download request to a workspace.

    :param method: ``GET`` or ``HEAD``.
    :param path: the virtual path, bytes.
    :param disposition: ``inline`` if the client asked to view the file, else ``None``.
    :param fields: the client's headers; only some are forwarded.
    :param request_id: is forwarded.
    :param route: the workspace's route.
    :param trace: is forwarded.
    """

    method: bytes
    path: bytes
    disposition: str | None
    fields: HeaderFields = field(repr=False)
    request_id: str
    route: bytes = b"/internal/file/read"
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """
    A `DownloadRequest` for one workspace, as far as it is the same for each method and request id.

    :param origin: the URL of the workspace's origin, for treq.
    :param uri: the URL of the request, for the agent.
    :param lines: its header lines, each with its CRLF, without the request id.
    :param owner: see `chatfiles.platform.upstream.prepared.PreparedHeaders`.
    :param asked: the client's headers that it forwards.
    """

    origin: PreparedURL
    uri: bytes
    lines: bytes = field(repr=False)
    owner: bytes
    asked: HeaderValues = field(repr=False)


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """
    An upload request to a workspace.

    :param fields: names and values of the headers that are forwarded.
    :param body: produces the body.
    :param request_id: is forwarded.
    :param trace: is forwarded.
    :param method: of the request.
    :param target: the workspace's route, with its query.
    :param form: what the workspace may respond; ``None`` for an upload of a form.
    """

    fields: Sequence[tuple[bytes, bytes]]
    body: IBodyProducer
    request_id: str
    trace: TraceContext | None = None
    method: bytes = b"POST"
    target: bytes = b"/internal/chat/uploads/ingest"
    form: ResponseForm | None = None


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """
    A request of an operation below ``/internal/fs`` to a workspace.

    :param method: its method.
    :param target: the workspace's route, with its query.
    :param form: what the workspace may respond.
    :param request_id: is forwarded.
    :param fields: names and values of the headers that are forwarded.
    :param body: a small body, bytes; ``None`` if there is none.
    :param once: whether the workspace must not receive it twice, not even if it does not respond
        for a while.
    :param trace: is forwarded.
    """

    method: bytes
    target: bytes
    form: ResponseForm
    request_id: str
    fields: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | None = None
    once: bool = False
    trace: TraceContext | None = None
