"""
What a route for an upgrade needs (RFC 9110, 7.8).
"""

from __future__ import annotations

from chatfiles.errors import BadRequest, UpgradeRequired
from chatfiles.http.server.request import Request
from chatfiles.rules.channel_upgrade import PROTOCOL, UpgradeFault, request_fault

__all__ = ["require_upgrade"]


def require_upgrade(request: Request, protocol: bytes = PROTOCOL) -> None:
    """
    Check that the client can upgrade now.

    :param request: its request.
    :param protocol: the only protocol to which it may upgrade.
    :raise BadRequest: it has a body, or bytes follow it.
    :raise UpgradeRequired: it does not ask for this upgrade.
    """
    body = request.body.length
    if request.method != b"GET":
        raise _required(protocol, "the method is not GET")
    fault = request_fault(request.clientproto, request.requestHeaders, body, protocol)
    if fault is UpgradeFault.BODY or request.channel.received or request.channel.peer_finished:
        raise BadRequest("nothing may follow a request for an upgrade", code="malformed_request")
    if fault is not None:
        raise _required(protocol, fault.value)


def _required(protocol: bytes, detail: str) -> UpgradeRequired:
    error = UpgradeRequired(detail=detail)
    error.fields = (b"Connection", b"upgrade"), (b"Upgrade", protocol)
    return error
