"""
From what went wrong on the way to a workspace to what the caller is told (CONTRACT 4).
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as net_error
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)

from chatfiles.errors import NOT_NOW, Unavailable, UpstreamFailed
from chatfiles.http.response_head import BadResponse
from chatfiles.platform import error_texts
from chatfiles.platform.upstream.dialer import AddressRefused

__all__ = ["UNANSWERED", "as_told", "is_cancelled", "not_connected"]

#: What a dial may fail with: the network, or the peer's certificate.
_DIAL_ERRORS = (
    OSError,
    net_error.ConnectError,
    net_error.ConnectionClosed,
    SSL.Error,
    VerificationError,
)

#: What a request fails with when no octet of an answer has come.
UNANSWERED = (RequestNotSent, RequestTransmissionFailed, ResponseNeverReceived)


def not_connected(failure: Failure) -> Failure:
    """:return: what the caller is told of a dial that failed."""
    if failure.check(AddressRefused):
        return Failure(error_texts.url_not_allowed(failure.getErrorMessage()))
    if getattr(failure.value, "osError", None) in NOT_NOW:  # ours, not the workspace's
        return Failure(Unavailable(retry_after=1))
    if failure.check(*_DIAL_ERRORS):
        return Failure(UpstreamFailed(detail=_why(failure.value)))
    return failure


def as_told(failure: Failure) -> Failure:
    """:return: what the caller is told of a request that failed."""
    error = failure.value
    if is_cancelled(failure):
        return Failure(CancelledError())
    if isinstance(error, RequestGenerationFailed):
        reason: Failure = error.reasons[0]
        return reason
    if isinstance(error, UNANSWERED):
        return Failure(UpstreamFailed(detail="the connection was lost before an answer came"))
    if isinstance(error, ResponseFailed):
        bad = [reason.value for reason in error.reasons if reason.check(BadResponse)]
        return Failure(error_texts.answered_badly(str(bad[0]) if bad else "cut within the head"))
    return failure


def is_cancelled(failure: Failure) -> bool:
    """:return: whether somebody of this side ended the request."""
    reasons: list[Failure] = [failure, *getattr(failure.value, "reasons", ())]
    return any(reason.check(CancelledError) for reason in reasons)


def _why(error: BaseException | None) -> str:
    """:return: what went wrong with a dial, for a person; nothing of this machine."""
    match error:
        case socket.gaierror():
            return "the host name could not be looked up"
        case net_error.TimeoutError():
            return "connecting took too long"
        case net_error.ConnectionRefusedError():
            return "the connection was refused"
        case SSL.Error() | VerificationError():
            return "no secure connection could be made"
    return "no connection could be made"
