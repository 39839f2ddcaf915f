"""
When the certificates of ``ssl:`` listeners expire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from OpenSSL import crypto

__all__ = ["expiry", "tls_names"]

_KINDS = ("ssl:", "chatfiles-tls:")
# An endpoint string escapes a colon with a backslash.
_FILE = re.compile(r"(?:\A|:)(certKey|privateKey)=((?:\\.|[^:\\])*)")


def tls_names(descriptions: Iterable[str]) -> Mapping[str, str]:
    """
    :param descriptions: the endpoint strings of listeners.
    :return: those with a certificate, by their names: type and port.
    """
    return {":".join(each.split(":")[:2]): each for each in descriptions if each.startswith(_KINDS)}


def expiry(description: str) -> float | None:
    """
    :param description: of an ``ssl:`` listener, whose certificate is read now, once.
    :return: when the certificate expires, in seconds since the epoch; ``None`` if this is unknown.
    """
    files = {name: re.sub(r"\\(.)", r"\1", path) for name, path in _FILE.findall(description)}
    path = files.get("certKey") or files.get("privateKey")
    if not description.startswith("ssl:") or path is None:
        return None
    try:
        with open(path, "rb") as file:
            certificate = crypto.load_certificate(crypto.FILETYPE_PEM, file.read())
    except (OSError, crypto.Error):  # the listener reports it
        return None
    end = (certificate.get_notAfter() or b"").decode("ascii")
    return datetime.strptime(end, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
