"""
TLS of one listener: which certificate serves a client, and how certificates are renewed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from zope.interface import implementer

from chatfiles.rules.server_names import DEFAULT, find_name
from chatfiles.runtime.tls.certificate_store import CertificateStore
from chatfiles.runtime.tls.files import LoadedFiles
from chatfiles.runtime.tls.identity import Identity, read_authorities

__all__ = ["LOOKS_PER_KEY", "ServerCertificates"]

#: Suites of TLS 1.2 with forward secrecy and AEAD.  All suites of TLS 1.3 are such.
_CIPHERS: Final = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")
_PROTOCOLS: Final = (b"http/1.1",)
#: Looks after which session tickets are encrypted with new keys: an hour of them.
LOOKS_PER_KEY: Final = 360


@implementer(IOpenSSLServerConnectionCreator)
class ServerCertificates:
    """
    The certificates of one listener.

    :param certificate: see `CertificateStore`; so is *key*.
    :param client_ca: a file of authorities.  Clients need a certificate of one of them; empty if
        they need none.
    :param log: says which files are not valid, and when certificates were renewed.
    :param now: returns the time of day, in seconds since the epoch.
    :raise BadFile: a file is not valid.
    """

    def __init__(
        self,
        certificate: str,
        key: str,
        client_ca: str,
        log: Logger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._now = now
        self._where = certificate
        self._client_ca = LoadedFiles([client_ca], read_authorities) if client_ca else None
        if self._client_ca is not None:
            self._client_ca.load()
        self._store = CertificateStore(certificate, key, self._warn)
        self._looks = 0
        self._use()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """:return: a connection that uses the certificates of now."""
        connection: SSL.Connection = self._contexts.default.serverConnectionForTLS(protocol)
        return connection

    @property
    def not_after(self) -> float:
        """When the first of the certificates expires: seconds since the epoch."""
        return min(each.not_after for each in self._store.identities().values())

    @property
    def is_refused(self) -> bool:
        """Whether any file was not valid at the last look, so that older ones are in use."""
        has_authorities = self._client_ca is None or not self._client_ca.is_refused
        return self._store.is_refused or not has_authorities

    def look(self) -> None:
        """
        Look at the files, and use those that are new and valid for all handshakes from now on.
        Connections continue.  Blocks; may be called in a thread.
        """
        is_renewed = self._store.look()
        has_authorities = self._client_ca is not None and self._client_ca.look(self._warn)
        self._looks += 1
        if is_renewed:
            self._tell_renewed()
        if self._client_ca is not None and has_authorities:
            self._log.info("{path}: read again", path=self._client_ca.paths[0])
        if is_renewed or has_authorities or self._looks % LOOKS_PER_KEY == 0:
            self._use()

    def _tell_renewed(self) -> None:
        expiry = datetime.fromtimestamp(self.not_after, UTC)
        has_expired = self.not_after < self._now()
        tell = self._log.warn if has_expired else self._log.info
        tell(
            "{path}: read again; {verb} {expiry:%Y-%m-%d %H:%M:%S} UTC",
            path=self._where,
            verb="a certificate expired on" if has_expired else "valid until",
            expiry=expiry,
        )

    def _warn(self, line: str) -> None:
        self._log.warn("{line}", line=line)

    def _use(self) -> None:
        authorities = () if self._client_ca is None else self._client_ca.value or ()
        # A single assignment: the reactor thread may begin a handshake meanwhile.
        self._contexts = _Contexts(self._store.identities(), authorities)


class _Contexts:
    """
    OpenSSL's contexts for one state of the files.

    They are never changed, only replaced as a whole.  New contexts have new keys for session
    tickets, so a client cannot resume a session that was verified with other authorities.
    """

    def __init__(
        self, identities: Mapping[str, Identity], authorities: Sequence[Certificate]
    ) -> None:
        self._identities = identities
        self._authorities = authorities
        self._options = cache(self._make)
        self.default = self._options(DEFAULT)

    def _make(self, name: str) -> CertificateOptions:
        identity = self._identities.get(name)  # without one, handshakes fail
        options = CertificateOptions(
            **({} if identity is None else identity.options),
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableCiphers=_CIPHERS,
            acceptableProtocols=list(_PROTOCOLS),
            enableSessionTickets=True,
            trustRoot=trustRootFromCertificates(self._authorities) if self._authorities else None,
            contextForServerName=self._for_name if name == DEFAULT else None,
        )
        context = options.getContext()
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        for authority in self._authorities:
            context.add_client_ca(authority.original.to_cryptography())
        return options

    def _for_name(self, requested: bytes | None) -> SSL.Context | None:
        name = find_name(requested, self._identities)
        return None if name == DEFAULT else self._options(name).getContext()
