"""
Chooses between two media types by the ``Accept`` of a request (RFC 9110, 12.5.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["JSON", "NDJSON", "wants_html", "wants_ndjson", "wants_openmetrics"]

#: The media types of a response in one piece, and of one with a line for each entry.
JSON: Final = b"application/json"
NDJSON: Final = b"application/x-ndjson"
_HTML: Final = b"text/html"
_OPENMETRICS: Final = b"application/openmetrics-text"

#: The ranges that match JSON and text, the most specific first.
_JSON_RANGES: Final = (JSON, b"application/*", b"*/*")
_TEXT_RANGES: Final = (b"text/plain", b"text/*", b"*/*")
# A quoted string may contain commas and semicolons (RFC 9110, 5.6.4).
_QUOTED = rb'"(?:[^"\\]|\\.)*"?'
_MEMBER = re.compile(rb"(?:[^,\"]|" + _QUOTED + rb")++", re.DOTALL)
_PARAMETER = re.compile(rb"(?:[^;\"]|" + _QUOTED + rb")++", re.DOTALL)
_WEIGHT = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def wants_ndjson(values: Sequence[bytes]) -> bool:
    """
    :param values: the values of all ``Accept`` headers of a request.
    :return: whether they name JSON lines, with a higher weight than JSON.
    """
    own, json = _weights(values, NDJSON, _JSON_RANGES)
    return own > json


def wants_html(values: Sequence[bytes]) -> bool:
    """
    :param values: the values of all ``Accept`` headers of a request.
    :return: whether they name HTML, with a higher weight than JSON.
    """
    own, json = _weights(values, _HTML, _JSON_RANGES)
    return own > json


def wants_openmetrics(values: Sequence[bytes]) -> bool:
    """
    :param values: the values of all ``Accept`` headers of a request.
    :return: whether they name OpenMetrics, with no lower weight than plain text.
    """
    own, text = _weights(values, _OPENMETRICS, _TEXT_RANGES)
    return own > 0.0 and own >= text


def _weights(
    values: Sequence[bytes], media_type: bytes, others: Sequence[bytes]
) -> tuple[float, float]:
    """:return: the weight of a media type by its name, and of the first of *others* there is."""
    weights: dict[bytes, float] = {}
    for media_range, weight in _members(b",".join(values)):
        weights[media_range] = max(weight, weights.get(media_range, 0.0))
    other = next((weights[each] for each in others if each in weights), 0.0)
    return weights.get(media_type, 0.0), other


def _members(field: bytes) -> Iterator[tuple[bytes, float]]:
    """Yield each media range, without parameters and in lower case, with its weight."""
    for member in _MEMBER.findall(field):
        parts = [part.strip(b" \t") for part in _PARAMETER.findall(member)]
        if not parts:
            continue  # only semicolons
        essence, *parameters = parts
        weight = 1.0
        for parameter in parameters:
            if parameter[:2].lower() == b"q=":
                match = _WEIGHT.fullmatch(parameter)
                weight = float(match[1]) if match else 0.0
        yield essence.lower(), weight
