"""
Why there is no connection to another machine, or no response on it, for the log of an operator.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from OpenSSL import SSL
from twisted.internet import error as net_error

from chatfiles.runtime.tls.peers import CertificateRefused
from chatfiles.runtime.tls.problems import tls_problem

__all__ = ["connection_problem"]

_TEXTS: Final = (
    (net_error.ConnectionClosed, "the connection was closed before a response came"),
    ((net_error.DNSLookupError, socket.gaierror), "the host name could not be looked up"),
    (net_error.TimeoutError, "connecting took too long"),
    (net_error.ConnectionRefusedError, "the connection was refused"),
)


def connection_problem(error: BaseException) -> str:
    """
    :param error: of an attempt to connect, or of a connection.
    :return: a text that quotes nothing that the peer has sent.
    """
    if isinstance(error, CertificateRefused):
        return str(error)
    if isinstance(error, SSL.Error):
        return tls_problem(error) or "no secure connection could be made"
    for kinds, text in _TEXTS:
        if isinstance(error, kinds):
            return text
    if isinstance(error, net_error.ConnectError) and isinstance(error.osError, int):
        return f"no connection could be made: {os.strerror(error.osError)}"
    return f"an unexpected error, {type(error).__name__}"
