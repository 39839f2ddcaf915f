"""
Where the nodes of a platform reach each other.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["endpoint_of_worker", "parse_url", "url_of_worker"]

_PORT = re.compile(r"\A((?:tcp6?|ssl|chatfiles-tls):(?:port=)?)([0-9]+)")
_EXAMPLE = "http://HOST:PORT, such as http://10.0.0.3:8081, https://HOST:PORT or unix:PATH"


def parse_url(text: str) -> str:
    """
    :param text: a URL, such as ``http://10.0.0.3:8081``.
    :return: the same, without a final slash.
    :raise ValueError: it has another form.  The text follows "takes".
    """
    if text.startswith("unix:/"):
        return text
    try:
        parts = urlsplit(text)
        is_valid = bool(parts.hostname) and parts.port is not None
    except ValueError:
        is_valid = False
    if not is_valid or parts.path.strip("/") or parts.query or parts.fragment or "@" in text:
        raise ValueError(_EXAMPLE)
    if parts.scheme not in ("http", "https") or not text.isascii():
        raise ValueError(_EXAMPLE)
    return text.rstrip("/")


def url_of_worker(url: str, number: int) -> str:
    """
    :param url: of the first worker.
    :param number: of a worker, from 1.
    :return: its URL: the next port, or another path.
    """
    if number == 1:
        return url
    if url.startswith("unix:"):
        return f"{url}.{number}"
    head, _, port = url.rpartition(":")
    return f"{head}:{int(port) + number - 1}"


def endpoint_of_worker(description: str, number: int) -> str:
    """
    :param description: a Twisted server endpoint of the first worker.
    :param number: of a worker, from 1.
    :return: that of the worker: the next port, or another path.
    :raise ValueError: this kind of endpoint has neither; the text is for people.
    """
    if number == 1:
        return description
    if description.startswith("unix:"):
        kind, path, *rest = description.split(":")
        return ":".join([kind, f"{path}.{number}", *rest])
    if not _PORT.match(description):
        raise ValueError("takes tcp:PORT, chatfiles-tls:PORT or unix:PATH with --workers")
    return _PORT.sub(lambda match: f"{match[1]}{int(match[2]) + number - 1}", description)
