"""
Hypothesis strategies for the input that clients send to chatfiles.

They need the package ``hypothesis``, which chatfiles itself does not install.  Each strategy draws
mostly valid values, and some unusual ones that break careless code.  Use them alone, or as parts of
larger strategies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ModuleNotFoundError(
        "chatfiles.testing.strategies needs hypothesis: pip install hypothesis",
        name="hypothesis",
    ) from error

__all__ = [
    "FormFile",
    "content_types",
    "file_names",
    "form_files",
    "multipart_form",
    "multipart_forms",
    "range_headers",
    "virtual_paths",
]

#: The roots below which a virtual path may name a file.
ROOTS = (b"/configs", b"/workspace", b"/home", b"/plugins")

_PIECES = st.sampled_from(
    [
        b"a",
        b"b.txt",
        b"..",
        b".",
        b"",
        b"/",
        b"%2e",
        b"%00",
        b"\0",
        b"\\",
        b"\xc3\xa9",
        b"\xff",
        b"...",
    ]
)
_CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"--", b"-", b"x", b""]), max_size=12).map(
        b"".join
    ),
)


@dataclass(frozen=True)
class FormFile:
    """
    A file of a form.

    :param name: its file name, as bytes: without NUL and line ends.
    :param content: its bytes.
    :param content_type: the part's ``Content-Type``; ``None`` for a part without it.
    """

    name: bytes
    content: bytes
    content_type: str | None = None


def virtual_paths(roots: Iterable[bytes] = ROOTS) -> st.SearchStrategy[bytes]:
    """
    :param roots: the roots with which most paths begin.
    :return: draws virtual paths in bytes, decoded: valid ones, and those with dot segments, empty
        segments, NUL, backslashes, bytes that are not UTF-8, or without a root.
    """
    root = st.sampled_from(list(roots))
    joined = st.lists(_PIECES).map(b"/".join)
    return st.one_of(
        st.tuples(root, joined).map(b"/".join),
        st.tuples(root, st.lists(_PIECES).map(b"".join)).map(b"".join),
        st.lists(_PIECES).map(b"".join),
        st.binary(),
    )


def range_headers(largest: int = 200) -> st.SearchStrategy[bytes]:
    """
    :param largest: the largest position in well-formed values.
    :return: draws values of the header ``Range`` in bytes: with one range, with several ranges, and
        malformed.
    """
    number = st.integers(0, largest).map(str)
    single = st.one_of(
        st.builds("{}-{}".format, number, number),
        number.map(lambda first: f"{first}-"),
        number.map(lambda last: f"-{last}"),
    )
    space = st.sampled_from(["", " ", "\t", ",", " ,"])
    text = st.one_of(
        single,
        st.lists(single, min_size=2, max_size=4).map(",".join),
        st.builds("{}{}{}".format, space, single, space),
        st.text("0123456789-, ="),
    )
    unit = st.sampled_from(["bytes=", "bytes=", "bytes=", "Bytes=", "bytes =", "octets=", ""])
    return st.builds("{}{}".format, unit, text).map(str.encode)


def file_names(max_size: int = 40) -> st.SearchStrategy[bytes]:
    """
    :param max_size: maximum bytes of a name; file systems accept 255.
    :return: draws names that a POSIX file system accepts: any bytes but NUL and ``/``, not empty.
    """
    return st.one_of(
        st.binary(min_size=1, max_size=max_size),
        st.lists(
            st.sampled_from(
                [b"a", b".txt", b" ", b'"', b"%", b"\\", b"\r\n", b"\xc3\xa9", b"\xff"]
            ),
            min_size=1,
            max_size=max(1, max_size // 4),
        ).map(b"".join),
    ).filter(lambda name: not {0, 0x2F} & set(name))


def content_types() -> st.SearchStrategy[str | None]:
    """:return: draws media types of a part, some with parameters; ``None`` for no header."""
    return st.sampled_from([None, "text/plain", "application/octet-stream", "a/b; charset=x"])


def form_files(
    names: st.SearchStrategy[bytes] | None = None,
    contents: st.SearchStrategy[bytes] | None = None,
) -> st.SearchStrategy[FormFile]:
    """
    :param names: the file names; by default `file_names` without line ends, which a form cannot
        carry unescaped.
    :param contents: the contents; by default short ones, full of bytes like those of a delimiter.
    :return: draws files of a form.
    """
    if names is None:
        names = file_names().filter(lambda name: not {0x0A, 0x0D} & set(name))
    return st.builds(FormFile, names, _CONTENTS if contents is None else contents, content_types())


def multipart_forms(
    boundary: str = "chatfiles-test", *, max_files: int = 5
) -> st.SearchStrategy[tuple[list[FormFile], bytes]]:
    """
    :param boundary: the boundary of the form.
    :param max_files: maximum number of files in one form.
    :return: draws files, and the ``multipart/form-data`` body that holds them (RFC 7578).
    """
    delimiter = b"\r\n--" + boundary.encode("ascii")
    # A line that begins like the delimiter is a delimiter (RFC 2046, 5.1.1).
    contents = _CONTENTS.filter(lambda content: delimiter not in b"\r\n" + content + b"\r\n")
    files = st.lists(form_files(contents=contents), min_size=1, max_size=max_files)
    return files.map(lambda chosen: (chosen, multipart_form(chosen, boundary)))


def multipart_form(files: Iterable[FormFile], boundary: str) -> bytes:
    """
    :param files: the files, all in the form field ``files``; quotes in names are escaped as
        ``%22``.
    :param boundary: the boundary; no line of a content may begin with ``--`` and the boundary.
    :return: the body of a request with ``Content-Type: multipart/form-data; boundary=…``.
    """
    delimiter = b"--" + boundary.encode("ascii")
    parts = [
        b'%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n%s\r\n%s\r\n'
        % (delimiter, file.name.replace(b'"', b"%22"), _type_line(file), file.content)
        for file in files
    ]
    return b"".join(parts) + delimiter + b"--\r\n"


def _type_line(file: FormFile) -> bytes:
    return (
        b"" if file.content_type is None else b"Content-Type: %s\r\n" % file.content_type.encode()
    )
