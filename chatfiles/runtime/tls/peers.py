"""
TLS towards servers: which certificates a role accepts from them, and which one it presents.

Twisted's `optionsForClientTLS` is not used, because Twisted 26.10 accepts a certificate without any
``subjectAltName`` for every host: its callback logs the error and returns success.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from chatfiles.runtime.settings import PeerFiles
from chatfiles.runtime.tls.files import BadFile, LoadedFiles
from chatfiles.runtime.tls.identity import read_authorities, read_identity
from chatfiles.runtime.tls.problems import certificate_problem

__all__ = ["CertificateRefused", "PeerVerification", "peer_verification"]

#: A name that a certificate can hold (RFC 9525, 6.3).  No host of the Internet has an underscore
#: (RFC 952), but names that Docker and Windows give to machines do.
_NAME: Final = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


class CertificateRefused(SSL.Error):
    """
    The certificate of a server is not accepted; the text is "certificate …".

    :param problem: what is wrong, as the rest of a sentence about the certificate.
    """

    def __init__(self, problem: str) -> None:
        # Twisted and pyOpenSSL expect the form of OpenSSL's queue of errors.
        super().__init__([("chatfiles", "verify", f"certificate {problem}")])

    def __str__(self) -> str:
        return str(self.args[0][0][-1])


@implementer(IPolicyForHTTPS)
class PeerVerification:
    """
    Verifies servers: their chain of certificates, and that the certificate is for the host.

    :param files: the operator's; by default, there are none.
    :param log: says which files are not valid, and when they were read again.
    :raise BadFile: a file is not valid.
    """

    _log = Logger()

    def __init__(self, files: PeerFiles | None = None, log: Logger = _log) -> None:
        self._files = files = files or PeerFiles()
        self._log = log
        self._roots = LoadedFiles([files.authorities], read_authorities)
        own = [path for path in (files.certificate, files.key) if path]
        self._own = LoadedFiles(own, read_identity)
        self._context: SSL.Context | None = None
        if files.authorities:
            self._roots.load()
        if files.certificate:
            self._own.load()
            self._warn_of_key()

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """
        :param hostname: a name, or an address without brackets, which its certificate must hold.
        :param port: of the server; not used.
        :return: what creates connections that verify the server.
        :raise ValueError: no certificate can hold the name.
        """
        return _Peer(self, hostname)

    @property
    def context(self) -> SSL.Context:
        """The context of the next connection, made at its first use: it reads the authorities."""
        if self._context is None:
            self._context = self._make()
        return self._context

    @property
    def looks(self) -> Sequence[Callable[[], None]]:
        """What looks at the files; nothing without files."""
        return [self.look] if self._files.authorities or self._files.certificate else []

    def look(self) -> None:
        """Look at the files, and use those that are new and valid.  Blocks."""
        looked = [
            each.look(self._warn)
            for each, path in (
                (self._roots, self._files.authorities),
                (self._own, self._files.certificate),
            )
            if path
        ]
        if any(looked):
            self._context = self._make()
            self._warn_of_key()
            self._log.info("certificates for connections to servers were read again")

    def _warn_of_key(self) -> None:
        if self._own.value is not None and self._own.value.warning:
            self._warn(self._own.value.warning)

    def _warn(self, line: str) -> None:
        self._log.warn("{line}", line=line)

    def _make(self) -> SSL.Context:
        roots = self._roots.value or ()
        own = self._own.value
        context = CertificateOptions(
            **({} if own is None else own.options),
            raiseMinimumTo=TLSVersion.TLSv1_2,
            trustRoot=trustRootFromCertificates(roots) if self._files.only else platformTrust(),
        ).getContext()
        if not self._files.only:
            store = context.get_cert_store()
            assert store is not None, "a context has a store"
            for root in roots:
                store.add_cert(root.original)
        context.set_verify(SSL.VERIFY_PEER, _verify)
        return context


@implementer(IOpenSSLClientConnectionCreator)
class _Peer:
    def __init__(self, verification: PeerVerification, hostname: bytes) -> None:
        self._verification = verification
        self._name = hostname
        self.host = hostname.decode("ascii")
        self._is_address = isIPAddress(self.host) or isIPv6Address(self.host)
        if not self._is_address and not _NAME.fullmatch(hostname):
            raise ValueError("no certificate can hold this name")
        self.identity = (IPAddress_ID if self._is_address else DNS_ID)(self.host)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = _Connection(self._verification.context)
        connection.peer = self
        if not self._is_address:  # RFC 6066, 3: an address is no server name
            connection.set_tlsext_host_name(self._name)
        return connection


class _Connection(SSL.Connection):
    """A connection that knows whom it should lead to."""

    peer: _Peer


def _verify(connection: SSL.Connection, certificate: Any, code: int, depth: int, ok: int) -> bool:
    """
    Called for each certificate of the chain, that of the server last, at depth 0.

    :raise CertificateRefused: the handshake fails with this error.
    """
    if not ok:
        raise CertificateRefused(certificate_problem(code))
    if depth == 0:
        assert isinstance(connection, _Connection)
        try:
            verify_service_identity(extract_patterns(certificate), [connection.peer.identity], [])
        except (VerificationError, CertificateError, ValueError):
            raise CertificateRefused(f"is not for {connection.peer.host}") from None
    return True


def peer_verification(files: PeerFiles, ca_option: str, log: Logger) -> PeerVerification:
    """
    :param files: the operator's.
    :param ca_option: the option of the authorities.
    :param log: see `PeerVerification`.
    :return: what verifies servers.
    :raise ValueError: a file is not valid; the text names the option.
    """
    try:
        return PeerVerification(files, log)
    except BadFile as error:
        options = {files.authorities: ca_option, files.key: "--upstream-key"}
        option = options.get(error.path, "--upstream-certificate")
        raise ValueError(f"{option} takes a file in PEM format: {error}") from None
