"""
A certificate authority of a test, and a certificate that depends on intermediate certificates.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["write_certificates"]

Issuer = tuple[x509.Certificate, EllipticCurvePrivateKey]


def write_certificates(directory: str) -> None:
    """
    Write the files that an operator has: ``root.pem`` (the private authority), ``chain.pem`` (two
    intermediate certificates), ``cert.pem`` (for 127.0.0.1) and ``key.pem``.

    :param directory: where.
    """
    root = _issue("root", None)
    upper = _issue("upper", root)
    lower = _issue("lower", upper)
    leaf = _issue("leaf", lower, is_authority=False)
    key = leaf[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in {
        "root.pem": _pem(root),
        "chain.pem": _pem(lower) + _pem(upper),
        "cert.pem": _pem(leaf),
        "key.pem": key,
    }.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)


def _pem(issued: Issuer) -> bytes:
    return issued[0].public_bytes(Encoding.PEM)


def _issue(name: str, issuer: Issuer | None, *, is_authority: bool = True) -> Issuer:
    """:return: a certificate for *name* and its key; without *issuer*, it is self-signed."""
    key = generate_private_key(SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
    )
    return builder.sign(key if issuer is None else issuer[1], SHA256()), key
