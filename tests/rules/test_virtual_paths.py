"""
The form of virtual paths (reference/paths, "Form").
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import InvalidPath
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import ROOTS, VirtualPath, check_form

REQUIRED = ("path_required", "path query required")
REPEATED = ("path_repeated", "path query must be given once")
NOT_ABSOLUTE = ("path_not_absolute", "path must be absolute")
OUTSIDE = (
    "path_outside_roots",
    "path must be under /configs, /workspace, /home, or /plugins",
)
INVALID = ("invalid_path", "invalid path")

N255 = b"n" * 255
#: 4096 bytes: "/workspace", 15 segments of 255, one of 245.
LONGEST = b"/workspace" + (b"/" + N255) * 15 + b"/" + b"n" * 245

REFUSED: list[tuple[list[bytes], tuple[str, str]]] = [
    # absent, empty, repeated
    ([], REQUIRED),
    ([b""], REQUIRED),
    ([b"", b""], REQUIRED),
    ([b"/workspace/a", b"/workspace/a"], REPEATED),
    ([b"/workspace/a", b"/etc/passwd"], REPEATED),
    ([b"/workspace/a", b""], REPEATED),
    ([b"", b"/workspace/a"], REPEATED),
    ([b"a", b"b", b"c"], REPEATED),
    # not absolute
    ([b"a.txt"], NOT_ABSOLUTE),
    ([b"workspace/a.txt"], NOT_ABSOLUTE),
    ([b"./workspace/a.txt"], NOT_ABSOLUTE),
    ([b"../workspace/a.txt"], NOT_ABSOLUTE),
    ([b"~/a.txt"], NOT_ABSOLUTE),
    ([b"workspace:/workspace/a.txt"], NOT_ABSOLUTE),
    ([b"file:///workspace/a.txt"], NOT_ABSOLUTE),
    ([b" /workspace/a.txt"], NOT_ABSOLUTE),
    ([b"\t/workspace/a.txt"], NOT_ABSOLUTE),
    ([b"\0/workspace/a.txt"], NOT_ABSOLUTE),
    ([b"\\workspace\\a.txt"], NOT_ABSOLUTE),
    ([b"%2Fworkspace/a.txt"], NOT_ABSOLUTE),
    ([b"\xef\xbb\xbf/workspace/a.txt"], NOT_ABSOLUTE),
    ([b"\xef\xbc\x8fworkspace/a.txt"], NOT_ABSOLUTE),  # full-width slash
    ([b"a" * 5000], NOT_ABSOLUTE),
    # outside the roots
    ([b"/"], OUTSIDE),
    ([b"//"], OUTSIDE),
    ([b"/etc/passwd"], OUTSIDE),
    ([b"/proc/self/environ"], OUTSIDE),
    ([b"//workspace/a.txt"], OUTSIDE),
    ([b"/./workspace/a.txt"], OUTSIDE),
    ([b"/../workspace/a.txt"], OUTSIDE),
    ([b"/workspaceX/a.txt"], OUTSIDE),
    ([b"/workspace.bak"], OUTSIDE),
    ([b"/workspace-2/a"], OUTSIDE),
    ([b"/workspac"], OUTSIDE),
    ([b"/workspace\0/a"], OUTSIDE),
    ([b"/workspace\\a.txt"], OUTSIDE),
    ([b"/workspace%2Fa.txt"], OUTSIDE),
    ([b"/WORKSPACE/a.txt"], OUTSIDE),
    ([b"/Workspace/a.txt"], OUTSIDE),
    ([b"/work\xc5\xbfpace/a.txt"], OUTSIDE),  # long s, which case folding turns into an s
    ([b"/homes/a"], OUTSIDE),
    ([b"/plugin/a"], OUTSIDE),
    ([b"/config/a"], OUTSIDE),
    ([b"/root/workspace/a"], OUTSIDE),
    ([b"/etc/" + b"a" * 5000], OUTSIDE),
    # form
    ([b"/workspace/"], INVALID),
    ([b"/workspace//"], INVALID),
    ([b"/workspace//a.txt"], INVALID),
    ([b"/workspace/sub//b.txt"], INVALID),
    ([b"/workspace/a.txt/"], INVALID),
    ([b"/workspace/a.txt//"], INVALID),
    ([b"/workspace/."], INVALID),
    ([b"/workspace/./a.txt"], INVALID),
    ([b"/workspace/sub/."], INVALID),
    ([b"/workspace/.."], INVALID),
    ([b"/workspace/../"], INVALID),
    ([b"/workspace/../etc/passwd"], INVALID),
    ([b"/workspace/../workspace/a.txt"], INVALID),
    ([b"/workspace/../workspaceX/a"], INVALID),
    ([b"/workspace/sub/../a.txt"], INVALID),
    ([b"/workspace/sub/.."], INVALID),
    ([b"/home/../configs/.auth_token"], INVALID),
    ([b"/workspace" + b"/.." * 200 + b"/etc/passwd"], INVALID),
    ([b"/workspace/\0"], INVALID),
    ([b"/workspace/a.txt\0"], INVALID),
    ([b"/workspace/a.txt\0.png"], INVALID),
    ([b"/workspace/..\0/a.txt"], INVALID),
    ([b"/workspace/a\0/b"], INVALID),
    ([b"/workspace/" + b"n" * 256], INVALID),
    ([b"/workspace/" + b"n" * 256 + b"/a.txt"], INVALID),
    ([b"/workspace/" + "é".encode() * 128], INVALID),
    ([LONGEST + b"n"], INVALID),
    ([b"/workspace" + b"/a" * 2044], INVALID),
    ([b"/workspace/" + b"a" * 100_000], INVALID),
    ([b"/workspace" + b"/a" * 100_000], INVALID),
]

#: path, root, segments
ACCEPTED: list[tuple[bytes, bytes, tuple[bytes, ...]]] = [
    (b"/configs", b"/configs", ()),
    (b"/workspace", b"/workspace", ()),
    (b"/home", b"/home", ()),
    (b"/plugins", b"/plugins", ()),
    (b"/workspace/a.txt", b"/workspace", (b"a.txt",)),
    (b"/configs/x/y/z", b"/configs", (b"x", b"y", b"z")),
    (b"/home/workspace/a", b"/home", (b"workspace", b"a")),
    (b"/plugins/p/plugin.py", b"/plugins", (b"p", b"plugin.py")),
    *(
        (b"/workspace/" + name, b"/workspace", (name,))
        for name in (
            b".hidden",
            b"..foo",
            b"foo..",
            b"a..b.txt",
            b"...",
            b"....",
            b". ",
            b" ..",
            b".. ",
            b"..;",
            b"..\\",
            b"sp ace.txt",
            b" lead",
            b"trail ",
            b"per%cent.txt",
            b"%2e%2e",
            b"%2f..",
            b"..%2fetc",
            b"hash#q?.txt",
            b"a&b=c",
            b"semi;colon.txt",
            b"plus+plus",
            b"new\nline.txt",
            b"\r",
            b"\x01\x1f\x7f",
            b"back\\slash",
            b'quo"te',
            b"~",
            b"$HOME",
            b"*",
            b"[a-z]?",
            b"C:",
            b"-rf",
            b"<script>",
            "h\u00e9llo".encode(),
            "nfd-e\u0301".encode(),
            "\u202egpj.exe".encode(),
            "\u2025".encode(),  # two dot leader
            "\uff0e\uff0e".encode(),  # full-width dots
            "\u2215".encode(),  # division slash
            b"\xc0\xae\xc0\xae",  # overlong dots
            b"\xed\xa0\x80",  # a surrogate
            b"\xff\xfe",
            b"\x80",
            N255,
            "é".encode() * 127,
        )
    ),
    (b"/workspace/<b>x</b>", b"/workspace", (b"<b>x<", b"b>")),
    (LONGEST, b"/workspace", (N255,) * 15 + (b"n" * 245,)),
]


def verdict(values: list[bytes]) -> VirtualPath | tuple[str, str]:
    try:
        return check_form(values)
    except InvalidPath as refusal:
        return refusal.code, refusal.text


def is_well_formed(raw: bytes) -> bool:
    """The same rules, implemented in another way."""
    first, *segments = raw.split(b"/")[1:] or [b""]
    return (
        raw.startswith(b"/")
        and b"/" + first in {b"/configs", b"/workspace", b"/home", b"/plugins"}
        and len(raw) < 4097
        and raw.find(b"\0") < 0
        and all(0 < len(s) < 256 and s.strip(b".") + s[2:] != b"" for s in segments)
    )


#: Paths near the border between valid and invalid ones.
pieces = st.sampled_from(
    [b"/", b".", b"..", b"a", b"\0", b"\xff", b" ", b"%2e", b"workspace", b"home", N255, b"n"]
)
paths = st.one_of(
    st.binary(),
    st.lists(pieces).map(b"".join),
    st.tuples(st.sampled_from(ROOTS), st.lists(pieces).map(b"".join)).map(b"".join),
    st.tuples(st.sampled_from(ROOTS), st.lists(pieces).map(b"/".join)).map(b"/".join),
)


class CheckFormTests(SynchronousTestCase):
    """`check_form`, by table and by property."""

    def test_refused(self):
        """An invalid path is refused, with the text that existing clients know."""
        for values, expected in REFUSED:
            self.assertEqual(verdict(values), expected, values)

    def test_accepted(self):
        """Any name that the file system allows is accepted unchanged."""
        for raw, root, segments in ACCEPTED:
            self.assertEqual(verdict([raw]), VirtualPath(raw, root, segments))

    def test_the_longest_is_at_the_limit(self):
        """The longest path of the tables has exactly 4096 bytes."""
        self.assertEqual(len(LONGEST), 4096)

    def test_status(self):
        """The status of an invalid path is 400."""
        self.assertEqual(InvalidPath.status, 400)

    def test_name(self):
        """The name of a file is its path's last segment."""
        self.assertEqual(check_form([b"/workspace/x/..a b"]).name, b"..a b")

    @given(paths)
    def test_exactly_the_well_formed(self, raw: bytes):
        """`check_form` accepts exactly the paths that the rules allow."""
        self.assertEqual(isinstance(verdict([raw]), VirtualPath), is_well_formed(raw), raw)

    @given(paths)
    def test_nothing_is_normalised(self, raw: bytes):
        """A path that is accepted is kept byte for byte."""
        path = verdict([raw])
        if isinstance(path, VirtualPath):
            self.assertEqual(path.raw, raw)
            self.assertEqual(b"/".join((path.root, *path.segments)), raw)
            self.assertIn(path.root, ROOTS)

    def test_with_the_query(self):
        """
        The path is checked after the query was decoded once: no escape hides a traversal, and none
        is decoded twice.
        """
        for query, expected in [
            (b"path=/workspace%2f%2e%2e%2fetc/passwd", INVALID),
            (b"path=/workspace/%2e%2e/etc", INVALID),
            (b"path=%2Fworkspace%2F..", INVALID),
            (b"path=/workspace/a.txt%00.png", INVALID),
            (b"path=%20/workspace/a", NOT_ABSOLUTE),
            (b"path=+/workspace/a", NOT_ABSOLUTE),
            (b"path=&x=1", REQUIRED),
            (b"path", REQUIRED),
            (b"Path=/workspace/a", REQUIRED),
            (b"path[]=/workspace/a", REQUIRED),
            (b"path=/workspace/a&path=/etc/passwd", REPEATED),
            (b"path=/workspace/a&%70ath=/etc/passwd", REPEATED),
        ]:
            self.assertEqual(verdict(parse_query(query).get(b"path", [])), expected, query)
        for query, name in [
            (b"path=/workspace/%252e%252e", b"%2e%2e"),
            (b"path=/workspace/per%25cent.txt", b"per%cent.txt"),
            (b"path=/workspace/a%zz", b"a%zz"),
            (b"path=/workspace/a;b", b"a;b"),
            (b"path=/workspace/a+b%2Bc", b"a b+c"),
            (b"%70ath=/workspace/a", b"a"),
            (b"path=/workspace/a&x=1&y", b"a"),
        ]:
            self.assertEqual(check_form(parse_query(query)[b"path"]).name, name)
