"""
What a failed handshake means, for the log of an operator.
"""

from __future__ import annotations

from typing import Final

from OpenSSL.SSL import Error
from OpenSSL.SSL import X509VerificationCodes as Codes

__all__ = ["certificate_problem", "tls_problem"]

_INCOMPLETE: Final = (
    "is not trusted: its authority is unknown here, or an intermediate certificate is missing"
)
_PROBLEMS: Final = {
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: _INCOMPLETE,
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: _INCOMPLETE,
    Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: _INCOMPLETE,
    Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "is not trusted: its authority is unknown here",
    Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "is not trusted: it is signed by itself",
    Codes.ERR_CERT_NOT_YET_VALID: "is not valid yet",
    Codes.ERR_CERT_HAS_EXPIRED: "has expired",
    Codes.ERR_INVALID_CA: "is signed by a certificate that is no authority",
    Codes.ERR_INVALID_PURPOSE: "is not for this purpose",
}


def certificate_problem(code: int) -> str:
    """
    :param code: of OpenSSL.
    :return: what is wrong, as the rest of a sentence about the certificate.
    """
    return _PROBLEMS.get(code, f"is not accepted: OpenSSL's error {code}")


def tls_problem(error: Error) -> str:
    """
    :param error: of a connection with TLS.
    :return: what OpenSSL says, such as an alert of the peer; empty if it says nothing.
    """
    queue = error.args[0] if error.args else ()
    return f"TLS: {queue[0][-1]}" if queue else ""
