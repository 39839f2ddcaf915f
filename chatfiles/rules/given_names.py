"""
The name that a part of a form gives its file, in the forms that clients write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

from multipart import content_disposition_unquote, header_unquote

__all__ = ["GivenName", "given_name"]

#: A parameter of Content-Disposition; the value of ``filename*`` may have characters that RFC 8187
#: wants to be encoded.
_PARAMETER = re.compile(r';\s*([^\s;="]+)[ \t]*=[ \t]*("(?:\\.|[^"\\])*"|[^;]*)')
#: RFC 8187, 3.2.1: a charset, a language, and a percent-encoded value.
_EXTENDED = re.compile(r"([^']*)'[^']*'(.*)", re.DOTALL)
#: The charsets that mail programs use.  Python has others that are no charsets, such as punycode.
_CHARSET = re.compile(
    r"utf-8|us-ascii|iso-8859-\d{1,2}|windows-125\d|koi8-[ru]"
    r"|iso-2022-jp|shift_jis|euc-jp|euc-kr|gb2312|gbk|gb18030|big5",
    re.IGNORECASE | re.ASCII,
)
#: A quoted value in which each backslash is written twice.  Browsers write a backslash once.
_DOUBLED = re.compile(r'"(?:[^\\]|\\\\)*"')
#: RFC 2047, 2: one encoded word or several, and nothing else.
_ENCODED_WORDS = re.compile(r"(?:=\?[^?\s]+\?[bq]\?[^?\s]*\?=\s*)+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GivenName:
    """
    :param name: the name as the client means it.  Browsers write ``"`` and line ends as ``%22``,
        ``%0D`` and ``%0A`` (https://html.spec.whatwg.org/#multipart-form-data).
    :param written: the name without this decoding.
    """

    name: str
    written: str


def given_name(disposition: str) -> GivenName | None:
    """
    ``filename*`` is preferred to ``filename``: .NET sends both, and in ``filename`` an encoded word
    of RFC 2047, which counts only if nothing else is given.  RFC 7578, 4.2, forbids ``filename*``,
    but many clients send it.

    :param disposition: the value of ``Content-Disposition``, decoded as Latin-1.
    :return: the name of the file; ``None`` if the part is not a file.
    """
    values: dict[str, str] = {}
    for key, value in _PARAMETER.findall(disposition):
        values[key.lower()] = value.strip(" \t")
    plain, extended = values.get("filename"), values.get("filename*")
    if extended is not None:
        match = _EXTENDED.fullmatch(extended.strip('"'))
        if match is not None:
            return _same(_percent_decoded(match[2], match[1]))
        if plain is None:
            return _same(_percent_decoded(extended.strip('"'), ""))
    return None if plain is None else _plain(plain)


def _plain(value: str) -> GivenName:
    single = value.replace(r"\\", "\\") if _DOUBLED.fullmatch(value) else value
    name = _text(content_disposition_unquote(single, filename=True))
    if _ENCODED_WORDS.fullmatch(name) and (decoded := _decoded_words(name)) is not None:
        return _same(decoded)
    return GivenName(name, _text(header_unquote(value, filename=True)))


def _same(name: str) -> GivenName:
    return GivenName(name, name)


def _percent_decoded(value: str, charset: str) -> str:
    octets = unquote_to_bytes(value.encode("latin-1"))
    latin = octets.decode("latin-1")
    return latin if charset.lower() == "iso-8859-1" else _text(latin)


def _decoded_words(value: str) -> str | None:
    text = ""
    try:
        for word, charset in decode_header(value):
            if charset is None or not _CHARSET.fullmatch(charset):
                return None
            text += word.decode(charset)
    except (HeaderParseError, LookupError, UnicodeError):
        return None
    return text


def _text(latin: str) -> str:
    """:return: *latin*, decoded as UTF-8, which browsers and curl send; otherwise unchanged."""
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return latin
