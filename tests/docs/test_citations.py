"""
Citations of the reference by page and heading, such as ``reference/downloads, "Headers"``, name a
heading that exists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import ROOT, manual_pages, read

#: In code: the citation may continue on another line, after a comment sign.
_CITATION = re.compile(r"\breference/([a-z-]+),[\s#:*-]*\"([^\"]+)\"")
#: In the manual: a link to a page, and the heading after it.
_LINK = re.compile(r":doc:`(?:/?[a-z-]+/)?([a-z-]+)`, \"([^\"]+)\"")
_HEADING = re.compile(r"^(\S.*)\n([=~-])\2+$", re.MULTILINE)


def headings() -> dict[str, set[str]]:
    """:return: for each page of the manual, by its last name, its headings."""
    return {
        os.path.basename(page).removesuffix(".rst"): {
            found[1] for found in _HEADING.finditer(read("docs", page))
        }
        for page in manual_pages()
    }


def sources() -> Iterator[str]:
    """Yield the paths of the files that may contain citations, below the top of the checkout."""
    for top in ("chatfiles", "tests", "bench", "docs"):
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".py", ".sql", ".rst")):
                    yield os.path.relpath(os.path.join(directory, name), ROOT)
    yield "CONTRIBUTING.md"


class CitationTests(SynchronousTestCase):
    """Citations of the reference."""

    def test_headings(self) -> None:
        """Every citation names a heading that exists."""
        known, wrong = headings(), []
        for path in sources():
            text = read(path)
            for citation in (*_CITATION.finditer(text), *_LINK.finditer(text)):
                heading = re.sub(r"\s*\n\s*(?:#:?)?\s*", " ", citation[2])
                if heading not in known.get(citation[1], ()):
                    wrong.append(f"{path}: {citation[1]}, {heading!r}")
        self.assertEqual(wrong, [])

    def test_forms(self) -> None:
        """A citation is found wherever its lines end."""
        for text in ('(reference/paths, "Form")', '#: See reference/paths,\n    #: "Form".'):
            found = _CITATION.search(text)
            self.assertEqual(found and found.groups(), ("paths", "Form"))
        self.assertIn("Deny list", headings()["paths"])
        self.assertIn("Trusted proxies", headings()["options"])
