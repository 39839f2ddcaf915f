"""
What a route for an upgrade needs (RFC 9110, 7.8).
"""

from __future__ import annotations

from chatfiles.errors import BadRequest, ChatfilesError
from chatfiles.http.server.request import Request
from chatfiles.rules.channel_upgrade import PROTOCOL, UpgradeFault, request_fault

__all__ = ["UpgradeRequired", "require_upgrade"]


class UpgradeRequired(ChatfilesError):
    """
    The request does not ask for the upgrade that the route is for.

    :param protocol: the protocol to upgrade to, for ``Upgrade`` in the response.
    :param detail: why the request is not accepted.
    """

    status = 426
    code = "upgrade_required"
    text = "upgrade required"

    def __init__(self, protocol: bytes, detail: str) -> None:
        super().__init__(detail=detail)
        self.fields = (b"Connection", b"upgrade"), (b"Upgrade", protocol)


def require_upgrade(request: Request, protocol: bytes = PROTOCOL) -> None:
    """
    Check that the client can upgrade now.

    :param request: its request.
    :param protocol: the only protocol to which it may upgrade.
    :raise BadRequest: it has a body, or bytes follow it.
    :raise UpgradeRequired: it does not ask for this upgrade.
    """
    body = request.body.length
    fault = request_fault(request.clientproto, request.requestHeaders, body, protocol)
    if fault is UpgradeFault.BODY or request.channel.received or request.channel.peer_finished:
        raise BadRequest("nothing may follow a request for an upgrade", code="malformed_request")
    if fault is not None:
        raise UpgradeRequired(protocol, fault.value)
