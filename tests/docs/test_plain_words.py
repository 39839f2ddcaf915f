"""
The manual is in plain English: private words do not come back.

Literals and code blocks are not checked, because they quote programs and their names.  To check
another file, add it to `PAGES`; to ban another word, add a line to `PLAINER`.
"""

from __future__ import annotations

import ast
import os
import re
from io import StringIO
from tokenize import COMMENT, generate_tokens

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import ROOT, manual_pages, read

#: The files that are checked, as paths below the top of the checkout.
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "newsfragments/README.md"]

#: Directories whose Python is checked too: docstrings and comments.
PACKAGES = ["chatfiles", "bench"]

#: A word to avoid, as a regular expression → what to say.
PLAINER = {
    r"octets?": "byte",
    r"callers?": "client",
    r"answer(s|ed|ing)?": "response, respond",
    r"heads?": "header, headers",
    r"(header|request|response|trailer) fields?|field lines?": "header, header line",
    r"cut(s|ting)?": "interrupted, ended, closed",
    r"told|tells of": "receives, is notified, reports",
    r"judg(e|es|ed|ing|ment)": "check, validate",
    r"anew": "from the start, again",
    r"(go|goes|going|went|gone) on": "continue, resume",
    r"(hold|holds|held|holding) back": "back-pressure, delay",
    r"(is|are|was|were|be|been) away": "unavailable",
    r"foreign(?! (key|function))": "third-party",
    r"(of|by|for|to) others|others'": "third-party, name the actor",
    r"dial(s|ed|led|ing|ling)?": "connect",
    r"(no|some|any|every)body|whoever|whomever": "name the actor",
    r"enrol(s|led|ling|ment)?": "register, registration",
    r"patience|hang[- ]?ups?|in a hurry": "timeout, disconnect, at once",
}
_WORDS = {re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE): say for pattern, say in PLAINER.items()}

# ``literal``, `literal`, :role:`target`; the last may continue on the next line.
_LITERAL = re.compile(r"``.*?``|`[^`]*`", re.DOTALL)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: RFC 9110 has a method of this name.
_METHOD = re.compile(r"\bHEAD\b")


def prose(text: str) -> str:
    """:return: *text* without literals and code blocks; its lines keep their numbers."""
    text = _LITERAL.sub(_blank, _FENCE.sub(_blank, text))
    lines = _METHOD.sub("", text).split("\n")
    kept, code, indent, paragraph = [], False, 0, ""
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if code and line.strip() and depth <= indent:
            code = False
        kept.append("" if code else line)
        if line.strip() and not code:
            # Code is indented deeper than the paragraph that introduces it, which ends with "::".
            paragraph, indent = line.rstrip(), depth
        elif not line.strip() and not code:
            code = paragraph.endswith("::") and not paragraph.lstrip().startswith(".. list-table")
            code = code or paragraph.lstrip().startswith(".. code-block::")
    return "\n".join(kept)


def prose_of_markdown(text: str) -> str:
    """:return: as `prose`; text that is indented by four or more after an empty line is code."""
    kept, code, blank = [], False, True
    for line in _METHOD.sub("", _LITERAL.sub(_blank, _FENCE.sub(_blank, text))).split("\n"):
        if line.strip():
            code = line.startswith("    ") and (code or blank)
        kept.append("" if code else line)
        blank = not line.strip()
    return "\n".join(kept)


def prose_of_python(source: str) -> str:
    """:return: the docstrings and comments of *source*, without literals, each in its own line."""
    written = source.split("\n")
    lines = [""] * len(written)
    for token in generate_tokens(StringIO(source).readline):
        if token.type == COMMENT:
            lines[token.start[0] - 1] = token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if ast.get_docstring(node) is not None and isinstance(first, ast.Expr):
                place = slice(first.lineno - 1, first.end_lineno)
                lines[place] = written[place]
    return _LITERAL.sub(_blank, "\n".join(lines))


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def found_in(page: str, text: str) -> list[str]:
    """:return: for each word to avoid, its place and the word to use instead."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for word, say in _WORDS.items():
            found += [f"{page}:{number}: {each[0]!r}: {say}" for each in word.finditer(line)]
    return found


class WordsTests(SynchronousTestCase):
    """Words to avoid, in all that readers see."""

    maxDiff = None

    def test_manual(self) -> None:
        """No page of the manual uses a word to avoid."""
        found = []
        for page in manual_pages():
            found += found_in(f"docs/{page}", prose(read("docs", page)))
        self.assertEqual("\n".join(found), "")

    def test_pages(self) -> None:
        """No other page does."""
        found = []
        for page in PAGES:
            found += found_in(page, prose_of_markdown(read(page)))
        self.assertEqual("\n".join(found), "")

    def test_packages(self) -> None:
        """No docstring or comment does."""
        found = []
        for package in PACKAGES:
            for directory, _, names in os.walk(os.path.join(ROOT, package)):
                for name in sorted(names):
                    if name.endswith(".py"):
                        page = os.path.relpath(os.path.join(directory, name), ROOT)
                        found += found_in(page, prose_of_python(read(page)))
        self.assertEqual("\n".join(found), "")

    def test_fragments(self) -> None:
        """No news fragment does."""
        found = []
        for name in fragments():
            found += found_in(name, prose_of_markdown(read(name)))
        self.assertEqual("\n".join(found), "")


def fragments() -> list[str]:
    """:return: the news fragments."""
    directory = os.path.join(ROOT, "newsfragments")
    names = sorted(name for name in os.listdir(directory) if name.startswith(("+", *"0123456789")))
    return [f"newsfragments/{name}" for name in names]


class ProseTests(SynchronousTestCase):
    """Which parts of a text are checked."""

    def lines(self, text: str) -> list[int]:
        """:return: the lines of *text* in which the word is found."""
        return [int(each.split(":")[1]) for each in found_in("x", text)]

    def test_manual(self) -> None:
        """Words in a code block are not found, and words after it are."""
        text = "Title\n=====\n\n``caller``, the caller::\n\n   caller\n\n     caller\n\nThe caller."
        self.assertEqual(self.lines(prose(text)), [4, 10])

    def test_lists(self) -> None:
        """An indented table or list is not taken for code."""
        text = ".. list-table::\n   :header-rows: 1\n\n   * - caller\n     - b\n\n* Of\n  callers."
        self.assertEqual(self.lines(prose(text)), [4, 8])

    def test_markdown(self) -> None:
        """Words in an indented or fenced block are not found, and words in a list are."""
        text = "caller\n\n    caller\n\n- a\n  caller\n\n```\ncaller\n```\n`head` HEAD head"
        self.assertEqual(self.lines(prose_of_markdown(text)), [1, 6, 11])

    def test_python(self) -> None:
        """Names and strings of a program are not checked, and docstrings and comments are."""
        text = 'def caller():\n    """The\n    caller, `caller`."""\n    x = "caller"  # caller\n'
        self.assertEqual(self.lines(prose_of_python(text)), [3, 4])
