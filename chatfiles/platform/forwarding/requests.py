"""
The platform's requests to a workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.web.iweb import IBodyProducer

from chatfiles.platform.forwarding.response_form import ResponseForm
from chatfiles.rules.header_fields import HeaderFields

__all__ = ["DownloadRequest", "OperationRequest", "UploadRequest"]


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
    """

    method: bytes
    path: bytes
    disposition: str | None
    fields: HeaderFields = field(repr=False)
    request_id: str
    route: bytes = b"/internal/file/read"


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """
    An upload request to a workspace.

    :param content_type: the media type of the body, with its boundary.
    :param body: produces the body.
    :param request_id: is forwarded.
    """

    content_type: bytes
    body: IBodyProducer
    request_id: str


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """
    A request of an operation below ``/internal/fs`` to a workspace.

    :param method: ``GET``, ``HEAD`` or ``POST``.
    :param target: the workspace's route, with its query.
    :param form: what the workspace may respond.
    :param request_id: is forwarded.
    :param fields: names and values of the headers that are forwarded.
    :param body: a small body, bytes; ``None`` if there is none.
    :param once: whether the workspace must not receive it twice, not even if it does not respond
        for a while.
    """

    method: bytes
    target: bytes
    form: ResponseForm
    request_id: str
    fields: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | None = None
    once: bool = False
