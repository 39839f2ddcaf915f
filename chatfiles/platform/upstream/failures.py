"""
Turns failures of connections and requests to workspaces into errors for the client.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from twisted.internet import error as net_error
from twisted.python.failure import Failure

from chatfiles.errors import NOT_NOW, Unavailable, UpstreamFailed
from chatfiles.http.message_head.response import BadResponse
from chatfiles.platform import error_texts
from chatfiles.platform.upstream.connection import NoResponse
from chatfiles.platform.upstream.dialer import AddressRefused
from chatfiles.runtime.tls.peers import CertificateRefused
from chatfiles.runtime.tls.problems import tls_problem

__all__ = ["connect_error", "failure_reason", "request_error"]

_TOO_LONG = "connecting took too long"
#: Errors of a connection attempt: of the network, or of the peer's certificate.
_CONNECT_ERRORS = (
    OSError,
    net_error.ConnectError,
    net_error.ConnectionClosed,
    SSL.Error,
)


def connect_error(failure: Failure) -> Failure:
    """
    :param failure: why no connection could be made.
    :return: the error for the client.
    """
    if failure.check(AddressRefused):
        return Failure(error_texts.url_not_allowed(failure.getErrorMessage()))
    if getattr(failure.value, "osError", None) in NOT_NOW:  # the platform's fault
        return Failure(Unavailable(retry_after=1))
    if failure.check(*_CONNECT_ERRORS):
        return Failure(_unreachable(_why(failure.value), failure.value))
    return failure


def request_error(failure: Failure) -> Failure:
    """
    :param failure: why a request failed.
    :return: the error for the client.
    """
    if isinstance(failure.value, NoResponse):
        lost = "the connection was lost before a response came"
        return Failure(_unreachable(lost, failure.value.__cause__))
    if failure.check(BadResponse):
        return Failure(error_texts.invalid_response(failure.getErrorMessage()))
    return failure


def failure_reason(failure: Failure) -> str | None:
    """
    :param failure: why a request got no response: a result of `connect_error`, or of a connection.
    :return: the reason for the metrics; ``None`` if it is not counted here.
    """
    if failure.check(NoResponse):
        return "cut"
    error = failure.value
    if isinstance(error, UpstreamFailed) and error.code == UpstreamFailed.code:
        return "timeout" if error.detail == _TOO_LONG else "refused"
    return None


def _unreachable(detail: str, error: BaseException | None) -> UpstreamFailed:
    """
    :param detail: for the client.
    :param error: of the connection.
    :return: the error for the client.  The log also says what is wrong with a certificate.
    """
    unreachable = UpstreamFailed(detail=detail)
    if isinstance(error, CertificateRefused):
        unreachable.reason = str(error)
    elif isinstance(error, SSL.Error):
        unreachable.reason = tls_problem(error)
    return unreachable


def _why(error: BaseException | None) -> str:
    """:return: why no connection was made, for people; it shows nothing about this machine."""
    match error:
        case socket.gaierror():
            return "the host name could not be looked up"
        case net_error.TimeoutError():
            return _TOO_LONG
        case net_error.ConnectionRefusedError():
            return "the connection was refused"
        case SSL.Error():
            return "no secure connection could be made"
    return "no connection could be made"
