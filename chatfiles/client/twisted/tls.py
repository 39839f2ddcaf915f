"""
TLS towards a platform: which certificates are accepted.

Twisted's `optionsForClientTLS` is not used: Twisted 26.10 accepts a certificate without any
``subjectAltName`` for every host.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, platformTrust
from zope.interface import implementer

__all__ = ["Verified"]


@implementer(IOpenSSLClientConnectionCreator)
class Verified:
    """
    Creates connections whose server is verified.

    :param host: a name or address, which the certificate must be for.
    :param context: see `new_context`.
    """

    def __init__(self, host: str, context: SSL.Context) -> None:
        self._host = host
        self._context = context
        self._is_address = isIPAddress(host) or isIPv6Address(host)
        self.identity = (IPAddress_ID if self._is_address else DNS_ID)(host)

    @staticmethod
    def new_context(ca: str) -> SSL.Context:
        """
        :param ca: a file of certificate authorities to trust besides those of the machine; empty
            for none.
        :return: what all connections of a client share.
        :raise OSError: the file cannot be read, or has no certificate.
        """
        options = CertificateOptions(trustRoot=platformTrust(), raiseMinimumTo=TLSVersion.TLSv1_2)
        context = options.getContext()
        if ca:
            with open(ca, "rb"):
                pass  # which raises a better error
            try:
                context.load_verify_locations(ca)
            except SSL.Error as error:
                raise OSError(f"{ca} has no certificate in PEM form") from error
        context.set_verify(SSL.VERIFY_PEER, _verify)
        return context

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        connection = _Connection(self._context)
        connection.peer = self
        if not self._is_address:  # RFC 6066, 3: an address is no server name
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection

    def accepts(self, certificate: Any) -> bool:
        """:return: whether the certificate is for the host."""
        try:
            verify_service_identity(extract_patterns(certificate), [self.identity], [])
        except (VerificationError, CertificateError, ValueError):
            return False
        return True


class _Connection(SSL.Connection):
    """A connection that knows whom it should lead to."""

    peer: Verified


def _verify(connection: SSL.Connection, certificate: Any, _code: int, depth: int, ok: int) -> bool:
    """Called for each certificate of the chain, that of the server last, at depth 0."""
    if not ok or depth:
        return bool(ok)
    assert isinstance(connection, _Connection)
    return connection.peer.accepts(certificate)
