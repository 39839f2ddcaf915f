"""
When the certificates of listeners expire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from OpenSSL import crypto

__all__ = ["RENEWED", "Expiry", "expiry", "first_expiry", "tls_names"]

#: Returns when a certificate expires, in seconds since the epoch.
Expiry = Callable[[], float]

#: What the endpoint strings of listeners begin with whose certificates are renewed.
RENEWED = "chatfiles-tls:"
_KINDS = ("ssl:", RENEWED)
# An endpoint string escapes a colon with a backslash.
_FILE = re.compile(r"(?:\A|:)(certKey|privateKey)=((?:\\.|[^:\\])*)")


def tls_names(descriptions: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """
    :param descriptions: the endpoint strings of listeners.
    :return: those with a certificate, by their names: type and port.  Listeners on the same port of
        several addresses have the same name.
    """
    found: dict[str, list[str]] = {}
    for each in descriptions:
        if each.startswith(_KINDS):
            found.setdefault(":".join(each.split(":")[:2]), []).append(each)
    return found


def first_expiry(descriptions: Iterable[str], renewed: Mapping[str, Expiry]) -> Expiry | None:
    """
    :param descriptions: the endpoint strings of listeners.
    :param renewed: those of them whose certificates are renewed without a restart.
    :return: returns when the first of their certificates expires; ``None`` if this is unknown.
    """
    ends = [renewed.get(each) or _fixed(expiry(each)) for each in descriptions]
    known = [end for end in ends if end is not None]
    return (lambda: min(end() for end in known)) if known else None


def _fixed(moment: float | None) -> Expiry | None:
    return None if moment is None else partial(float, moment)


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
