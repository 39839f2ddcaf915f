"""reference/uploads, "Names": what an uploaded file is called."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.uploads.safe_names import MAX_EXTENSION, MAX_NAME, safe_name

#: The name that a client sends → the name that is stored.
TABLE: list[tuple[str, str]] = [
    ("report.pdf", "report.pdf"),
    ("A-z_0.9", "A-z_0.9"),
    # the last segment
    ("a/b/c.txt", "c.txt"),
    ("/etc/passwd", "passwd"),
    ("../../etc/passwd", "passwd"),
    ("a//b", "b"),
    ("..\\..\\boot.ini", ".._.._boot.ini"),
    ("C:\\x\\y.txt", "C__x_y.txt"),
    # spaces, and everything else
    ("my file (1).txt", "my_file__1_.txt"),
    ("a\tb\nc\rd", "a_b_c_d"),
    ("a\0b.txt", "a_b.txt"),
    ("a\x7fb", "a_b"),
    ('a"b', "a_b"),
    ("a'b;c&d|e`f$g*h?i", "a_b_c_d_e_f_g_h_i"),
    ("%2e%2e%2f", "_2e_2e_2f"),
    ("é.txt", "_.txt"),
    ("日本.txt", "__.txt"),
    ("😀", "_"),
    ("ｆｕｌｌ", "____"),
    ("²³.txt", "__.txt"),  # digits for str.isdigit(), but not ASCII
    ("\u0131\u017f\u212a", "___"),  # letters that fold to ASCII ones
    ("\u202etxt.exe", "_txt.exe"),
    ("\ud800", "_"),
    # nothing left
    ("", "file"),
    ("/", "file"),
    ("a/", "file"),
    (".", "file"),
    ("..", "file"),
    ("a/..", "file"),
    ("...", "..."),
    (" ", "_"),
    (".bashrc", ".bashrc"),
    ("-rf", "-rf"),
    # at most 100 characters, an extension of up to 16 kept
    ("a" * 100, "a" * 100),
    ("a" * 101, "a" * 100),
    ("a" * 96 + ".txt", "a" * 96 + ".txt"),
    ("a" * 97 + ".txt", "a" * 96 + ".txt"),
    ("a" * 300 + ".tar.gz", "a" * 97 + ".gz"),
    ("a" * 100 + "." + "x" * 15, "a" * 84 + "." + "x" * 15),
    ("a" * 100 + "." + "x" * 16, "a" * 100),
    ("a" * 100 + ".", "a" * 99 + "."),
    ("." + "a" * 100, "." + "a" * 99),
    ("b/" + "ü" * 200 + ".ü", "_" * 98 + "._"),
    ("." * 101, "." * 100),
]


class NameTests(SynchronousTestCase):
    """`safe_name`."""

    def test_table(self) -> None:
        """A name is stored as existing clients expect."""
        for given_name, stored in TABLE:
            self.assertEqual(safe_name(given_name), stored, ascii(given_name))

    @given(st.one_of(st.text(), st.text(alphabet="a./\\ \0é", max_size=250)))
    @example("a" * 84 + "." * 17)
    def test_harmless(self, name: str) -> None:
        """
        A stored name does not leave the directory, is not a special one, and is short enough for
        any file system.
        """
        stored = safe_name(name)
        self.assertTrue(re.fullmatch(r"[A-Za-z0-9._-]{1,100}", stored, re.ASCII), stored)
        self.assertNotIn(stored, (".", ".."))

    @given(st.text(alphabet="ab._-", min_size=1, max_size=MAX_NAME))
    def test_harmless_names_are_kept(self, name: str) -> None:
        """A name that is safe already is kept."""
        if name not in (".", ".."):
            self.assertEqual(safe_name(name), name)
            self.assertEqual(safe_name("dir/" + name), name)

    @given(st.text(max_size=300))
    def test_applied_twice(self, name: str) -> None:
        """A file that is fetched and uploaded again is not renamed again."""
        self.assertEqual(safe_name(safe_name(name)), safe_name(name))

    @given(
        st.text(alphabet="ab.", min_size=MAX_NAME, max_size=200),
        st.text(alphabet="xyz", min_size=1, max_size=MAX_EXTENSION - 1),
    )
    def test_extension_is_kept(self, stem: str, extension: str) -> None:
        """A long name keeps its extension, which shows its type."""
        self.assertTrue(safe_name(f"{stem}.{extension}").endswith("." + extension))
