"""
Certificate authorities of a test, and the certificates that they issue.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["EXPIRED", "Issued", "root_authority", "write_certificates"]

#: Days that certificates are valid before and after now.
VALID = (-1, 1)
EXPIRED = (-2, -1)


class Issued:
    """
    A certificate and its key.

    :param name: the common name of the subject, which nothing verifies.
    :param issuer: has signed it; ``None`` if it has signed itself.
    :param names: host names and addresses that it is valid for.
    :param days: when it begins and ceases to be valid, from now.
    :param key: its private key; by default, a new one.
    """

    def __init__(
        self,
        name: str,
        issuer: Issued | None,
        *names: str,
        days: tuple[float, float] = VALID,
        is_authority: bool = False,
        key: Any = None,
    ) -> None:
        key = key or generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
            builder = builder.add_extension(alternatives, critical=False)
        self._signer = key
        self.certificate: x509.Certificate = builder.sign(
            key if issuer is None else issuer._signer, SHA256()
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(self, *names: str, days: tuple[float, float] = VALID, key: Any = None) -> Issued:
        """:return: a certificate for names and addresses, signed by this one."""
        return Issued("leaf", self, *names, days=days, key=key)

    def authority(self, name: str) -> Issued:
        """:return: an intermediate authority below this one."""
        return Issued(name, self, is_authority=True)

    def write(self, path: str, end: str = ".pem", chain: bytes = b"") -> None:
        """
        Write *path* with *end*, the certificate and *chain*, and *path* with ``.key``; each of them
        at once, as programs that renew certificates do.
        """
        for name, content in ((path + ".key", self.key), (path + end, self.pem + chain)):
            with open(os.open(name + ".new", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
            os.rename(name + ".new", name)


def root_authority(name: str = "root") -> Issued:
    """:return: a private authority."""
    return Issued(name, None, is_authority=True)


def write_certificates(directory: str) -> None:
    """
    Write the files that an operator has: ``root.pem`` (the private authority), ``chain.pem`` (two
    intermediate certificates), ``cert.pem`` (for 127.0.0.1), ``fullchain.pem`` (the last two
    together) and ``key.pem``.

    :param directory: where.
    """
    root = root_authority()
    upper = root.authority("upper")
    lower = upper.authority("lower")
    leaf = lower.issue("127.0.0.1")
    for name, content in {
        "root.pem": root.pem,
        "chain.pem": lower.pem + upper.pem,
        "cert.pem": leaf.pem,
        "fullchain.pem": leaf.pem + lower.pem + upper.pem,
        "key.pem": leaf.key,
    }.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
