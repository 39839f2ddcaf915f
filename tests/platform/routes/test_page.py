"""
``/ui/``: the files of the web page, their headers, and what is not in them.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from urllib.parse import urljoin

import chatfiles
from chatfiles.platform.routes.page import PAGE_FILES
from chatfiles.rules import media_types
from tests.platform.memory_platform import MemoryPlatformCase
from tests.support.memory_client import Received, get

DIRECTORY = os.path.join(os.path.dirname(chatfiles.__file__), "ui")
BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "frame-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
#: What would run or load something that is not in these files.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser|\beval\b|"
    r"new Function|javascript:|localStorage|document\.cookie|\bimport\((?!\"\./)|"
    r"https?://(?!www\.w3\.org/2000/svg)"
)


def sources() -> dict[str, str]:
    """:return: the content of each file of the page, by its name."""
    found = {}
    for name in os.listdir(DIRECTORY):
        with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
            found[name] = file.read()
    return found


class PageCase(MemoryPlatformCase):
    """Requests without a credential."""

    def page(self, path: str, *fields: str, method: str = "GET") -> Received:
        """:return: the response."""
        lines = [field.encode() for field in fields]
        return self.ask(get(path.encode(), *lines, method=method.encode()))


class FilesTests(PageCase):
    """What is sent."""

    def test_files(self) -> None:
        """Each file of the package is sent with its type, and no other one."""
        files = sources()
        self.assertEqual(set(PAGE_FILES) | {"index.html"}, set(files))
        for name, content in files.items():
            answer = self.page("/ui/" if name == "index.html" else f"/ui/{name}")
            self.assertEqual((answer.status, answer.body.decode()), (200, content), name)
            kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
            expected = kind.get(name.rpartition(".")[2], "text/html")
            self.assertEqual(answer.fields["content-type"].partition(";")[0], expected, name)
        for path in (
            "/ui/index.html",
            "/ui/x",
            "/ui//",
            "/ui/..",
            "/ui/%2e%2e/tap.py",
            "/ui/app.js/",
        ):
            self.assertEqual(self.page(path).status, 404, path)
            self.assertEqual(self.page(path).json["code"], "no_route")
        self.assertEqual(self.page("/ui/", method="POST").fields["allow"], "GET, HEAD")

    def test_headers(self) -> None:
        """Each file has the headers of reference/page, "Headers"; a 304 has them, too."""
        for path in ("/ui/", *(f"/ui/{name}" for name in PAGE_FILES)):
            answer = self.page(path)
            tag = answer.fields["etag"]
            self.assertRegex(tag, r'\A"[0-9a-f]{32}"\Z')
            head = self.page(path, method="HEAD")
            self.assertEqual(
                head.fields | {"x-request-id": ""}, answer.fields | {"x-request-id": ""}
            )
            again = self.page(path, f"If-None-Match: W/{tag}")
            self.assertEqual((again.status, again.body, again.fields["etag"]), (304, b"", tag))
            self.assertEqual(self.page(path, 'If-None-Match: "other"').status, 200)
            for field in (f"If-Match: {tag}", "If-Match: *"):
                self.assertEqual(self.page(path, field).status, 200, path)
            for field in ('If-Match: "other"', f"If-Match: W/{tag}"):
                refused = self.page(path, field, f"If-None-Match: {tag}")
                self.assertEqual(
                    (refused.status, refused.json["code"]), (412, "precondition_failed")
                )
            for each in (answer, again):
                policy = each.fields["permissions-policy"].split(", ")
                self.assertTrue(all(feature.endswith("=()") for feature in policy))
                self.assertIn("camera=()", policy)
                for name, value in (
                    ("content-security-policy", POLICY),
                    ("x-content-type-options", "nosniff"),
                    ("referrer-policy", "no-referrer"),
                    ("cross-origin-opener-policy", "same-origin"),
                    ("cross-origin-resource-policy", "same-origin"),
                    ("cache-control", "no-cache"),
                ):
                    self.assertEqual(each.fields[name], value, path)

    def test_modules(self) -> None:
        """The document names all modules, also below a prefix, so that they are loaded at once."""
        for path in ("/ui/", "/files/links/upload"):
            link = self.page("/ui/").fields["link"]
            found = re.findall(r"<([^>]*)>; rel=modulepreload(?:, |\Z)", link)
            expected = [urljoin(path, f"../ui/{name}") for name in sources() if name[-3:] == ".js"]
            self.assertEqual({urljoin(path, each) for each in found}, set(expected))
        self.assertNotIn("link", self.page("/ui/app.js").fields)

    def test_addresses(self) -> None:
        """Browsers that open ``/`` are sent to the page; programs find nothing there."""
        for path, field in (("/", BROWSER), ("/ui", "Accept: */*")):
            answer = self.page(path, field)
            self.assertEqual((answer.status, answer.fields["location"]), (303, "/ui/"))
            self.context = replace(self.context, has_prefix=True)
            # A client resolves it below the prefix: /files/ and /files/ui become /files/ui/.
            self.assertEqual(self.page(path, field).fields["location"], "ui/")
            self.context = replace(self.context, has_prefix=False)
        for fields in ((), ("Accept: */*",), ("Accept: application/json",)):
            answer = self.page("/", *fields)
            self.assertEqual((answer.status, answer.json["code"]), (404, "no_route"))

    def test_off(self) -> None:
        """With ``--ui=off`` there is no page."""
        self.context = replace(self.context, ui=False)
        for path in ("/", "/ui", "/ui/", "/ui/app.js"):
            self.assertEqual(self.page(path, BROWSER).status, 404, path)


class ContentTests(PageCase):
    """What is in the files."""

    def test_weight(self) -> None:
        """All files together have at most 80 KiB."""
        self.assertLessEqual(sum(len(each.encode()) for each in sources().values()), 80 * 1024)

    def test_nothing_else(self) -> None:
        """No file loads anything from another host, parses markup, or keeps the token for long."""
        for name, content in sources().items():
            self.assertEqual(FORBIDDEN.findall(content), [], name)
        document = sources()["index.html"]
        self.assertNotRegex(document, r"<style|\son\w+=|\sstyle=")
        self.assertEqual(re.findall(r"<script[^>]*>[^<]", document), [])

    def test_modules(self) -> None:
        """What a module imports exists and is used, and what it exports is imported."""
        imported, exported = set(), set()
        for name, content in sources().items():
            for names, other in re.findall(r'import \{ (.*) \} from "\./([^"]+)"', content):
                self.assertIn(other, PAGE_FILES, name)
                for each in names.split(", "):
                    self.assertGreater(len(re.findall(rf"\b{each}\b", content)), 1, (name, each))
                    imported.add((other, each))
            for each in re.findall(r"^export (?:async )?\w+ (\w+)", content, re.M):
                exported.add((name, each))
        self.assertEqual(imported, exported)

    def test_strings(self) -> None:
        """Each text that is shown exists, and each that exists is shown."""
        files = sources()
        texts = files["strings.js"]
        defined = set(re.findall(r"^\t(\w+):", texts, re.M))
        used = set(re.findall(r"\bT\.(\w+)", "".join(files.values())))
        self.assertEqual(used - defined, set())
        states = {"waiting", "interrupted", "stored", "cancelled"}  # of uploads: T[state]
        self.assertEqual(defined - used, states)

    def test_viewable_types(self) -> None:
        """The page previews the types that the platform shows; of others, it reads only text."""
        listed = set(
            re.findall(r'"((?:application|image|text)/[a-z0-9.+-]+)"', sources()["format.js"])
        )
        families = ("audio/", "video/")
        shown = {each for each in media_types._VIEWABLE if not each.startswith(families)}
        self.assertEqual(listed | {"text/plain"}, shown)
        (text,) = re.findall(r"TEXT = /(.+)/;", sources()["format.js"])
        kinds = {each for each in media_types._EXTENSIONS if re.search(text, each)}
        for each in ("text/plain", "text/markdown", "text/csv", "application/json"):
            self.assertIn(each, kinds)
        self.assertFalse(kinds & {"text/html", "application/xhtml+xml", "image/svg+xml"})
