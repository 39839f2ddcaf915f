"""
File names in ``Content-Disposition``, parsed by the grammar of RFC 6266; and what a hostile
workspace may write in it and in ``Content-Type``, parsed as leniently as browsers do.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from chatfiles.platform.forwarding.response import relayed_headers
from chatfiles.rules.file_headers import CSP_ATTACHMENT, CSP_INLINE, content_disposition

TOKEN = set(b"!#$%&'*+-.^_`|~0123456789") | set(range(65, 91)) | set(range(97, 123))
#: Letters, digits and what RFC 8187 does not escape.
PLAIN = TOKEN - set(b"*'%")
#: Types that a browser may show (reference/downloads, "Viewing"), none of which is a document.
SHOWN = ("image/", "audio/", "video/", "text/plain", "application/pdf")

NAMES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from(
            [
                b'"',
                b"\\",
                b"\r\n",
                b"\0",
                b"%",
                b"'",
                b";",
                b"=",
                b"a",
                b" ",
                b"\xe9",
                "é".encode(),
                "日".encode(),
                "\u202e".encode(),
                "😀".encode(),
                b"\xf0\x9f",
                b"\xc0\xae",
                b"\xed\xa0\x80",
                b".html",
                b"%22",
                b"?=",
                b"=?utf-8?q?a?=",
            ]
        ),
        max_size=12,
    ).map(b"".join),
)


def read(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """:return: the type and the parameters of a header, parsed strictly (RFC 6266, 4.1)."""
    kind, at, parameters = token(value, 0), 0, dict[bytes, bytes]()
    at = len(kind)
    while at < len(value):
        assert value[at : at + 2] == b"; "
        name = token(value, at + 2)
        at += 2 + len(name)
        assert value[at : at + 1] == b"="
        at += 1
        if value[at : at + 1] == b'"':
            text, at = quoted(value, at + 1)
        else:
            end = value.find(b";", at)
            end = len(value) if end < 0 else end
            text, at = value[at:end], end
        assert name not in parameters
        parameters[name] = text
    return kind, parameters


def token(value: bytes, at: int) -> bytes:
    end = at
    while end < len(value) and value[end] in TOKEN:
        end += 1
    assert end > at
    return value[at:end]


def quoted(value: bytes, at: int) -> tuple[bytes, int]:
    """:return: the text of a quoted string, and where it ends."""
    text = bytearray()
    while value[at] != ord('"'):
        if value[at] == ord("\\"):
            at += 1
        assert 0x20 <= value[at] <= 0x7E
        text.append(value[at])
        at += 1
    return bytes(text), at + 1


def extended(value: bytes) -> str:
    """:return: the text of an ``ext-value`` (RFC 8187, 3.2.1)."""
    charset, language, text = value.split(b"'")
    assert (charset, language) == (b"UTF-8", b"")
    out, at = bytearray(), 0
    while at < len(text):
        if text[at] == ord("%"):
            out.append(int(text[at + 1 : at + 3], 16))
            at += 3
        else:
            assert text[at] in PLAIN
            out.append(text[at])
            at += 1
    return out.decode("utf-8")


def characters(name: bytes) -> list[str]:
    """:return: the characters of a name; U+FFFD for each byte that is part of none."""
    found, at = [], 0
    while at < len(name):
        for length in (1, 2, 3, 4):
            try:
                found.append(name[at : at + length].decode("utf-8"))
            except UnicodeDecodeError:
                continue
            at += length
            break
        else:
            found.append("\ufffd")
            at += 1
    return found


def check_name(name: bytes, *, inline: bool) -> None:
    """Both forms of the name are those of reference/downloads, "Headers"."""
    kind, parameters = read(content_disposition(name, inline=inline))
    assert kind == (b"inline" if inline else b"attachment")
    assert set(parameters) == {b"filename", b"filename*"}
    letters = characters(name)
    plain = [each if each.isascii() else "_" for each in letters]
    kept = "".join(each for each in plain if " " <= each <= "~")
    assert parameters[b"filename"].decode("ascii") == (kept or "download")
    assert extended(parameters[b"filename*"]) == ("".join(letters) or "download")


# -- what a workspace sends

ESSENCES = st.sampled_from(
    [
        "image/png",
        "text/plain",
        "video/mp4",
        "application/pdf",
        "IMAGE/PNG",
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "a/b",
        "*/*",
        "",
    ]
)
PARAMETERS = st.sampled_from(
    [
        "",
        ";",
        "; charset=utf-8",
        ';charset="utf-8"',
        "; charset=utf-7",
        "; x=y",
        ";,",
        ' ; x=","',
        '; x="',
        " ",
        "\t",
        "\xa0",
        "\\",
        ";charset=a,b",
    ]
)
TYPES = st.lists(st.tuples(ESSENCES, PARAMETERS).map("".join), min_size=1, max_size=3).flatmap(
    lambda types: st.sampled_from([",", ", ", ";", " ", ""]).map(lambda glue: glue.join(types))
)
DISPOSITIONS = st.lists(
    st.sampled_from(
        [
            "attachment",
            "inline",
            "ATTACHMENT",
            "Inline",
            ";",
            " ",
            ",",
            "filename=",
            '"',
            "a.html",
            "x",
            "=",
            "filename*=UTF-8''a",
            '","',
            'filename="a\\\\"b"',
            "\t",
            "\xe9",
            "form-data",
        ]
    ),
    max_size=7,
).map("".join)


def kinds(field: str) -> list[str]:
    """
    :return: every media type that some browser may see in a header, which it splits at commas.
    """
    ends = [part.split(";")[0].strip(' \t\xa0"').lower() for part in field.split(",")]
    return [end for end in (*ends, field.partition(";")[0].strip().lower()) if end]


def outside_quotes(field: bytes) -> bytes:
    """:return: the part of a header that is not quoted; every quotation has an end."""
    kept, at, quoted_now = bytearray(), 0, False
    while at < len(field):
        if field[at] == ord('"'):
            quoted_now = not quoted_now
        elif quoted_now and field[at] == ord("\\"):
            at += 1
        elif not quoted_now:
            kept.append(field[at])
        at += 1
    assert not quoted_now
    return bytes(kept)


def check_relayed(content_type: str, disposition: str, *, inline: bool) -> None:
    """Nothing that may be a document is shown inline, whatever the workspace sends."""
    sent = Headers()
    for name, value in ((b"Content-Type", content_type), (b"Content-Disposition", disposition)):
        if value:
            sent.setRawHeaders(name, [value.encode("latin-1")])
    fields = relayed_headers(b"GET", 200, None, sent, b"name.bin", inline)
    told = {name.lower(): value for name, value in fields.items()}
    assert len(told) == len(fields)
    kind = told[b"content-disposition"].partition(b";")[0].strip().lower()
    assert kind in (b"attachment", b"inline")
    assert b"," not in outside_quotes(told[b"content-disposition"])
    assert told[b"x-content-type-options"] == b"nosniff"
    shown = kind == b"inline" or told[b"content-security-policy"] != CSP_ATTACHMENT
    if shown:
        assert inline
        assert told[b"content-security-policy"] == CSP_INLINE
        for each in kinds(told[b"content-type"].decode("latin-1")):
            assert each.startswith(SHOWN), each
            assert "svg" not in each
            assert "xml" not in each


@given(NAMES, TYPES, DISPOSITIONS, st.booleans())
def check(name: bytes, content_type: str, disposition: str, inline: bool) -> None:
    """No name and no workspace can inject anything into a header."""
    check_name(name, inline=inline)
    check_relayed(content_type, disposition, inline=inline)
