"""
A certificate with its key, and certificate authorities, from files in PEM format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL.crypto import X509
from OpenSSL.SSL import Error
from twisted.internet.ssl import Certificate, CertificateOptions

from chatfiles.runtime.tls.files import BadFile, File

__all__ = ["Identity", "read_authorities", "read_identity"]

#: The permissions of users that are neither the owner of a file nor in its group.
_OTHERS = 0o006
_UNSUPPORTED = "its kind of key is not supported"


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A certificate, and the key that belongs to it.

    :ivar path: the file of the certificate.
    :ivar chain: the certificate, then the intermediate ones.
    :ivar key: the private key.
    :ivar exposed: the file of the key if any user can read or write it; else empty.
    """

    path: str
    chain: Sequence[x509.Certificate]
    key: Any
    exposed: str

    @property
    def not_after(self) -> float:
        """When the certificate expires: seconds since the epoch."""
        return self.chain[0].not_valid_after_utc.timestamp()

    @property
    def warning(self) -> str:
        """What an operator should know about the key; empty if it is not exposed."""
        text = f"the key in {self.exposed} may be read or written by any user; use chmod o-rw"
        return text if self.exposed else ""

    @property
    def options(self) -> dict[str, Any]:
        """What `CertificateOptions` takes."""
        return {
            "privateKey": self.key,
            "certificate": self.chain[0],
            "extraCertChain": self.chain[1:],
        }


def read_identity(files: Sequence[File]) -> Identity:
    """
    :param files: of the certificate and, unless the same file has both, of the key.
    :return: the identity.
    :raise BadFile: a file is not valid, or the key belongs to another certificate.
    """
    certificate, key_file = files[0], files[-1]
    chain = _certificates(certificate)
    key = _private_key(key_file)
    try:
        certified = chain[0].public_key()
    except UnsupportedAlgorithm:
        raise BadFile(certificate.path, _UNSUPPORTED) from None
    if _public(key.public_key()) != _public(certified):
        raise BadFile(
            key_file.path, f"the key does not belong to the first certificate in {certificate.path}"
        )
    exposed = key_file.path if key_file.mode & _OTHERS else ""
    identity = Identity(certificate.path, chain, key, exposed)
    try:
        CertificateOptions(**identity.options).getContext()
    except Error as error:  # such as a key that is too small
        raise BadFile(certificate.path, _why(error)) from None
    return identity


def read_authorities(files: Sequence[File]) -> Sequence[Certificate]:
    """
    :param files: one file of certificates.
    :return: the certificates in it, as Twisted has them.
    :raise BadFile: the file is not valid.
    """
    return [Certificate(X509.from_cryptography(each)) for each in _certificates(files[0])]


def _certificates(file: File) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.content)
    except ValueError:
        raise BadFile(file.path, "does not hold certificates in PEM format") from None


def _private_key(file: File) -> Any:
    try:
        return load_pem_private_key(file.content, None)
    except TypeError:
        raise BadFile(file.path, "the key has a password; keep it without one") from None
    except UnsupportedAlgorithm:
        raise BadFile(file.path, _UNSUPPORTED) from None
    except ValueError:
        raise BadFile(file.path, "does not hold a private key in PEM format") from None


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _why(error: Error) -> str:
    """:return: the reason in an error of OpenSSL."""
    details = error.args[0] if error.args else ()
    return str(details[0][-1]) if details else "OpenSSL does not accept it"
