"""
Tests for `chatfiles.workspace.files.deny_rules`.
"""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.name_folding import folded
from chatfiles.workspace.files.deny_rules import DEFAULT_GLOBS, DenyRules, Glob

#: Of names that a rule can have.
NAME_CHARACTERS = st.characters(codec="utf-8", exclude_characters="/\0[]{}\\*?.")


def denied(glob: bytes, path: bytes) -> bool:
    return Glob(glob).matches(path.lower(), folded(path))


class DefaultTests(SynchronousTestCase):
    """The rules that always hold."""

    def test_denied(self) -> None:
        """The credentials of the role and of the agent are denied, in any case of letters."""
        rules = DenyRules()
        for path in (
            b"/configs/.auth_token",
            b"/configs/.auth_token.tmp-0123456789abcdef",
            b"/configs/.auth_token~",
            b"/configs/.auth_token.d/one",
            b"/configs/.platform_inbound_secret",
            b"/configs/.platform_inbound_secret.bak",
            b"/configs/.platform_inbound_secret\nx",
            b"/configs/.hermes",
            b"/configs/.hermes/a",
            b"/configs/.hermes/a/b/.c",
            b"/configs/.HERMES/a",
            b"/configs/.Auth_Token",
            b"/Configs/.auth_token",
            # what ext4 with casefold and APFS open as well
            "/configs/.herme\u017f/a".encode(),
            "/config\u017f/.auth_to\u212aen".encode(),
            "/configs/.her\u200dmes/a".encode(),
            "/configs/.hermes\ufe0f".encode(),
        ):
            self.assertTrue(rules.denies(path), path)

    def test_below(self) -> None:
        """A directory is known in which a rule could deny something because of where it is."""
        rules = DenyRules([b"/workspace/a/*/secret", b"/**/.env", b"/home/**/key"])
        for path, expected in (
            (b"/workspace", True),
            (b"/workspace/a", True),
            (b"/workspace/a/b", True),
            (b"/workspace/a/b/secret", True),
            (b"/workspace/a/b/c", False),
            (b"/workspace/b", False),
            (b"/home/me", True),
            (b"/configs/.HERMES", True),
            (b"/configs/x", False),
        ):
            self.assertEqual(rules.concern_below(path), expected, path)

    def test_served(self) -> None:
        """A file that no rule names is not denied."""
        rules = DenyRules()
        for path in (
            b"/configs",
            b"/configs/auth_token",
            b"/configs/x.auth_token",
            b"/configs/sub/.auth_token",
            b"/workspace/.auth_token",
            b"/workspace/.hermes/a",
            b"/configs/.hermes2",
            b"/configs/.herme",
            b"/configs/.auth_toke",
            b"/home/configs/.hermes/a",
        ):
            self.assertFalse(rules.denies(path), path)

    def test_extra(self) -> None:
        """A rule of the operator is added to those that always hold."""
        rules = DenyRules([b"/workspace/secret"])
        self.assertTrue(rules.denies(b"/workspace/secret/x"))
        self.assertTrue(rules.denies(b"/configs/.hermes/a"))
        self.assertFalse(rules.denies(b"/workspace/secrets"))
        self.assertEqual([glob.raw for glob in rules.globs], [*DEFAULT_GLOBS, b"/workspace/secret"])


class ListingTests(SynchronousTestCase):
    """What a listing leaves out, and where it has to check each name."""

    def test_named_directory(self) -> None:
        """A rule ``X/**`` hides what is below X, in any spelling; X is denied, but listed."""
        rules = DenyRules([b"/home/*/.SSH/**", b"/workspace/a/**/**/", b"/workspace/b"])
        for path in (
            b"/configs/.hermes",
            b"/configs/.HERMES",
            "/configs/.herme\N{LATIN SMALL LETTER LONG S}".encode(),
            b"/home/u/.ssh",
            b"/workspace/a",
        ):
            self.assertEqual((rules.denies(path), rules.hides(path)), (True, False), path)
            self.assertTrue(rules.hides(path + b"/x"), path)
            self.assertTrue(rules.hides(path + b"/x/y"), path)
        for path in (
            b"/workspace/b",
            b"/workspace/b/c",
            b"/configs/.auth_token",
            b"/home/u/.ssh/k",
        ):
            self.assertEqual((rules.denies(path), rules.hides(path)), (True, True), path)
        for path in (b"/workspace/ab", b"/workspace", b"/home/u", b"/configs"):
            self.assertEqual((rules.denies(path), rules.hides(path)), (False, False), path)

    def test_whole(self) -> None:
        """A rule for a whole root lists the root; one for everything lists nothing."""
        self.assertFalse(DenyRules([b"/home/**"]).hides(b"/home"))
        self.assertTrue(DenyRules([b"/home/**"]).hides(b"/home/x"))
        self.assertTrue(DenyRules([b"/home"]).hides(b"/home"))
        self.assertTrue(DenyRules([b"/**"]).hides(b"/home"))

    def test_partial_files(self) -> None:
        """The role's partial files are denied everywhere, in any spelling."""
        rules = DenyRules()
        for path, denied in (
            (b"/workspace/.chatfiles-part-0af", True),
            (b"/workspace/.chatfiles-part-", True),
            (b"/home/u/v/.CHATFILES-part-0af.json", True),
            (b"/workspace/.chatfiles-part-0af/below", True),
            (b"/workspace/x.chatfiles-part-0af", False),
            (b"/workspace/.chatfiles-par", False),
        ):
            self.assertEqual((rules.denies(path), rules.hides(path)), (denied, denied), path)


class SpellingTests(SynchronousTestCase):
    """Rules and paths with characters outside of ASCII."""

    def test_spellings(self) -> None:
        """A rule covers its name in each case and in each normalization form, on either side."""
        for rule in ("\u00e9t\u00e9", "e\u0301te\u0301", "\u00c9T\u00c9"):
            for name in ("\u00e9t\u00e9", "e\u0301te\u0301", "\u00c9T\u00c9", "E\u0301TE\u0301"):
                self.assertTrue(denied(f"/home/{rule}".encode(), f"/home/{name}/x".encode()), name)
        self.assertTrue(denied("/home/\u017fecret".encode(), b"/home/secret"))
        self.assertTrue(denied("/home/Stra\u00dfe".encode(), b"/home/STRASSE"))
        self.assertTrue(denied("/home/\uac00".encode(), "/home/\u1100\u1161".encode()))
        self.assertFalse(denied("/home/\u00e9t\u00e9".encode(), b"/home/ete"))

    def test_one_character(self) -> None:
        """``?`` matches one character, also if folding makes two of it."""
        for name in ("\u00e9", "e\u0301", "\u00df", "\uac00", "\u1100\u1161", "\ufb01"):
            self.assertTrue(denied(b"/home/?.key", f"/home/{name}.key".encode()), name)
        self.assertFalse(denied(b"/home/?.key", "/home/\u00e9clair.key".encode()))

    def test_not_utf_8(self) -> None:
        """Bytes that are not UTF-8 match themselves."""
        self.assertTrue(denied(b"/home/\xff\xe9", b"/home/\xff\xe9/x"))
        self.assertFalse(denied(b"/home/\xff", b"/home/\xfe"))

    @given(st.text(NAME_CHARACTERS, min_size=1, max_size=20))
    def test_any_name(self, name: str) -> None:
        """A rule covers every spelling of any name."""
        glob = Glob(f"/home/{name}".encode())
        for spelling in (name.upper(), name.lower(), name.swapcase(), name.casefold()):
            for form in ("NFC", "NFD"):
                path = f"/home/{unicodedata.normalize(form, spelling)}".encode()
                if folded(path) == folded(f"/home/{name}".encode()):
                    self.assertTrue(glob.matches(path.lower(), folded(path)), path)


class MatchTests(SynchronousTestCase):
    """What a glob matches."""

    def assertTable(self, expected: bool, table: str) -> None:
        for line in table.split("\n"):
            if line.strip():
                glob, *paths = line.encode().split()
                for path in paths:
                    self.assertIs(denied(glob, path), expected, (glob, path))

    def test_matches(self) -> None:
        """A rule matches what it names, and what is below that."""
        self.assertTable(
            True,
            """
            /workspace/a          /workspace/a /workspace/a/b /workspace/A/b/c
            /workspace/a/         /workspace/a /workspace/a/b
            /workspace/a/**       /workspace/a /workspace/a/b /workspace/a/b/c
            /workspace/a/**/**/   /workspace/a /workspace/a/b /workspace/a/b/c
            /workspace/*          /workspace/a /workspace/a/b
            /workspace/*.pem      /workspace/.pem /workspace/x.PEM /workspace/x.pem/y
            /workspace/*/b        /workspace/a/b /workspace/a/b/c
            /workspace/**/b       /workspace/b /workspace/a/b /workspace/a/a/b /workspace/a/b/c
            /workspace/**/**/b    /workspace/b /workspace/a/b /workspace/a/a/b
            /workspace/**.pem     /workspace/x.pem /workspace/a/x.pem /workspace/.pem
            /workspace/a**z       /workspace/az /workspace/a/z /workspace/ab/c/dz/e
            /workspace/**/*.k     /workspace/.k /workspace/x.k /workspace/a/b/x.k
            /workspace/**/**.k    /workspace/.k /workspace/a/b/x.k
            /workspace/***/b      /workspace/b /workspace/a/a/b
            /workspace/a?c        /workspace/abc /workspace/aéc /workspace/a☃c /workspace/a?c
            /workspace/??         /workspace/ab /workspace/é☃
            /workspace/a*b*c      /workspace/abc /workspace/axbxbxc
            /workspace            /workspace /workspace/x
            /w*                   /workspace /workspace/x
            /**/.env              /workspace/.env /home/a/.env /configs/a/b/.env/c
            /*/.env               /workspace/.env /home/.env
            /**                   /workspace /home/x
            /WORKSPACE/x          /workspace/x
            """,
        )

    def test_does_not_match(self) -> None:
        """A rule does not match other paths."""
        self.assertTable(
            False,
            """
            /workspace/a          /workspace /workspace/ab /workspace/b/a /home/a
            /workspace/*.pem      /workspace/a/x.pem /workspace/x.pem2
            /workspace/*/b        /workspace/b /workspace/a/a/b /workspace/a/bb
            /workspace/**/b       /workspace /workspace/ab /workspace/a/bb /workspace/a/ab
            /workspace/**/*.k     /workspace/a/b/x.kk
            /workspace/a**z       /workspace/a /workspace/ba/z
            /workspace/a?c        /workspace/ac /workspace/abbc /workspace/a/c
            /workspace/?          /workspace /workspace/ab
            /workspace/a*b*c      /workspace/ab/c /workspace/acb
            /w*                   /home/w
            /**/.env              /workspace/x.env /workspace/.envrc
            /*/.env               /workspace/a/.env
            """,
        )

    def test_bytes(self) -> None:
        """Names that are not UTF-8 are matched, too."""
        self.assertTrue(denied(b"/workspace/?x*", b"/workspace/\xffx\xfe\xfd"))
        self.assertTrue(denied(b"/workspace/\xff", b"/workspace/\xff/y"))
        self.assertTrue(denied(b"/workspace/a*z", b"/workspace/a\n\x00z"))
        self.assertFalse(denied(b"/workspace/\xff", b"/workspace/\xfe"))

    def test_no_blow_up(self) -> None:
        """A rule of many wildcards is fast even on a path that is made to slow it down."""
        path = b"/workspace/" + b"a" * 4000
        for glob in (b"*a" * 1000 + b"b", b"**a" * 500 + b"b", b"?*" * 1000 + b"b"):
            self.assertFalse(denied(b"/workspace/" + glob, path))
        self.assertFalse(
            denied(b"/workspace/" + b"**/a/" * 500 + b"b", b"/workspace" + b"/a" * 2000)
        )


class RefusalTests(SynchronousTestCase):
    """Rules that are refused."""

    def test_refused(self) -> None:
        """
        A rule that can never hold is refused, so that its author does not believe the file to be
        hidden.
        """
        for glob, complaint in (
            (b"", "absolute"),
            (b"configs/x", "absolute"),
            (b"*", "absolute"),
            (b"**/x", "absolute"),
            (b"/configs/a\0b", "NUL"),
            (b"/etc/passwd", "under /configs, /workspace, /home, or /plugins"),
            (b"/workspaces/x", "under"),
            (b"/x*/y", "under"),
            (b"/?/y", "under"),
            (b"/", "under"),
            (b"//configs/x", "segment"),
            (b"/configs//x", "segment"),
            (b"/configs/../x", "segment"),
            (b"/configs/./x", "segment"),
            (b"/configs/x//", "segment"),
            (b"/configs/[ab]", "only"),
            (b"/configs/{a,b}", "only"),
            (b"/configs/a\\*", "only"),
            (b"/configs/" + b"x" * 4096, "4096"),
        ):
            with self.assertRaises(ValueError) as caught:
                Glob(glob)
            self.assertIn(complaint, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_sentence(self) -> None:
        """
        The error names the rule that is wrong, and escapes its control characters for the log.
        """
        with self.assertRaises(ValueError) as caught:
            DenyRules([b"/workspace/fine", b"/etc/\xffx\x1b[m"])
        self.assertIn(r"'/etc/\ufffdx\x1b[m'", str(caught.exception))


def reference(glob: bytes, path: bytes) -> bool:
    """The meaning of a rule, as a regular expression."""
    meaning = {b"**": b".*", b"*": b"[^/]*", b"?": b"[^/]"}
    tokens: list[bytes] = re.findall(rb"(?:/\*\*)+(?=/)|\*\*|.", glob)
    pattern = b""
    for token in tokens:
        if token.startswith(b"/**"):
            pattern += b"/(?:.*/)?"
        elif not (token == b"/" and pattern.endswith(b"/)?")):
            pattern += meaning.get(token, token)
    return re.fullmatch(pattern + b"(?:/.*)?", path) is not None


_GLOB_SEGMENT = st.lists(st.sampled_from("ab*?"), min_size=1, max_size=4).map("".join)
_GLOBS = st.lists(st.one_of(_GLOB_SEGMENT, st.just("**")), min_size=1, max_size=4).map("/".join)
_PATHS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5).map("/".join)


class AgreementTests(SynchronousTestCase):
    """The automaton, compared with the plain meaning of a rule."""

    @given(_GLOBS.filter(lambda glob: "***" not in glob and not glob.endswith("/**")), _PATHS)
    def test_reference(self, glob: str, path: str) -> None:
        """Any combination of wildcards matches what the regular expression matches."""
        if glob == "**":
            return
        full, below = b"/home/" + glob.encode(), b"/home/" + path.encode()
        self.assertIs(denied(full, below), reference(full, below))

    @given(_GLOBS, _PATHS, _PATHS)
    def test_everything_below(self, glob: str, path: str, more: str) -> None:
        """What is in a hidden directory is hidden, too."""
        full, above = b"/home/" + glob.encode(), b"/home/" + path.encode()
        if denied(full, above):
            self.assertTrue(denied(full, above + b"/" + more.encode()))

    @given(_GLOBS, _PATHS)
    def test_concern(self, glob: str, path: str) -> None:
        """Nothing is hidden or denied below a directory that no rule concerns."""
        rules, below = DenyRules([b"/home/" + glob.encode()]), b"/home/" + path.encode()
        refused = rules.denies(below) or rules.hides(below)
        for end in (place for place, byte in enumerate(below) if place and byte == b"/"[0]):
            self.assertTrue(rules.concern(below[:end]) or not refused)

    @given(_GLOBS.filter(lambda glob: not glob.endswith("**")), _PATHS)
    def test_hides(self, glob: str, path: str) -> None:
        """A rule ``X/**`` hides exactly what is in a path that the rule ``X`` denies."""
        rule, below = b"/home/" + glob.encode(), b"/home/" + path.encode()
        rules = DenyRules([rule + b"/**"])
        self.assertIs(rules.hides(below), denied(rule, below.rpartition(b"/")[0]))
        self.assertIs(rules.denies(below), denied(rule, below))
