"""
What the platform asks of a workspace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer

__all__ = ["DownloadRequest", "UploadRequest"]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """
    A download, as it is asked of a workspace.

    :param method: ``GET`` or ``HEAD``.
    :param path: the virtual path, bytes.
    :param disposition: ``inline`` when the caller asked for viewing, else ``None``.
    :param fields: the caller's header fields; only some are forwarded.
    :param request_id: goes along.
    """

    method: bytes
    path: bytes
    disposition: str | None
    fields: Headers = field(repr=False)
    request_id: str


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """
    An upload, as it is asked of a workspace.

    :param content_type: of the body, with its boundary.
    :param body: produces it.
    """

    content_type: bytes
    body: IBodyProducer
    request_id: str
