"""
A browser that reaches the platform through an application's proxy, which adds the credential: it
seeks in media, displays the types that are safe, and never renders HTML or SVG
(reference/downloads, "Viewing").
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SkipTest

from chatfiles.testing.broken_upstreams import ScriptedServer, ServerConnection
from tests.live import media
from tests.live.browser import Browser, missing_program
from tests.live.processes import LiveCase, Pair
from tests.live.rawhttp import READ, Response, fetch
from tests.support.patience import PATIENCE

#: Duration of the media, in seconds.
LENGTH = 240
#: The headers of a request that the proxy forwards.
ASKED = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")
#: Changes the title if the document is rendered.
SCRIPT = b"<script>document.title = 'executed'</script>"
HTML = (
    b"<!doctype html><html><head><title>rendered</title></head><body>" + SCRIPT + b"</body></html>"
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><title>rendered</title>' + SCRIPT + b"</svg>"

PAGE = b"""<!doctype html><title>page</title>
<%s id="media" preload="metadata" src="/file/%s?disposition=inline"></%s>"""

FORM = b"""<!doctype html><title>form</title>
<form action="/upload" method="post" enctype="multipart/form-data">
<input name="note" value="a field"><input type="file" name="files" multiple>
<input type="file" name="nothing"></form>"""


class _Handler(BaseHTTPRequestHandler):
    server: Application
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        kind, _, name = parts.path[1:].partition("/")
        if kind == "page":
            self._send(
                200, [("Content-Type", "text/html")], PAGE % ((b"video", name.encode(), b"video"))
            )
        elif kind in ("file", "hostile"):
            self._pass_on(kind, name, parts.query)
        elif kind == "form":
            self._send(200, [("Content-Type", "text/html; charset=utf-8")], FORM)
        else:
            self._send(404, [], b"")

    def do_POST(self) -> None:
        """Forward an upload, byte for byte."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        pair = self.server.pair
        kept = {"Content-Type": self.headers["Content-Type"], **pair.bearer}
        target = f"/workspaces/{pair.id}/chat/uploads"
        answer = fetch(pair.platform.url, target, kept, method="POST", body=body)
        self.server.uploads.append(answer)
        self._send(answer.status, [("Content-Type", answer["content-type"])], answer.body)

    def _send(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for field in fields:
            self.send_header(*field)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, kind: str, name: str, more: str) -> None:
        target, credential = self.server.targets[kind]
        fields = {each: self.headers[each] for each in ASKED if self.headers[each]}
        platform = http.client.HTTPConnection("127.0.0.1", self.server.platform, timeout=PATIENCE)
        with contextlib.closing(platform):
            platform.request("GET", f"{target}{name}&{more}", headers={**fields, **credential})
            answer = platform.getresponse()
            self.server.seen.append((name, self.headers["Range"], answer.status))
            self.send_response_only(answer.status)
            for field in answer.getheaders():
                self.send_header(*field)
            self.end_headers()
            with contextlib.suppress(ConnectionError, TimeoutError):
                while data := answer.read(READ):
                    self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class Application(ThreadingHTTPServer):
    """
    Serves a page, and forwards requests for files to the platform.

    :ivar targets: targets on the platform, up to a file's name, and the credential for each.
    :ivar uploads: the platform's responses to uploads so far.
    :ivar seen: the names, ``Range`` headers and statuses of the requests so far.
    """

    daemon_threads = True

    def __init__(self, pair: Pair) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pair = pair
        self.platform = pair.platform.port
        self.uploads: list[Response] = []
        target = pair.download_target(b"path=/workspace/media/").decode()
        self.targets = {"file": (target, pair.bearer)}
        self.seen: list[tuple[str, str | None, int]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it: a browser that disconnects is no error."""


class BrowserPair(Pair):
    """Both roles, and a browser that all tests share, as it takes seconds to start."""

    def __init__(self) -> None:
        super().__init__()
        try:
            self.browser = Browser()
        except BaseException:
            super().discard()
            raise

    def discard(self) -> None:
        """Stop the browser, too."""
        self.browser.close()
        super().discard()


class BrowserTests(LiveCase):
    """Files of a workspace in a browser, through an application."""

    pair: BrowserPair

    @classmethod
    def make_pair(cls) -> Pair:
        return BrowserPair()

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        for name, content in (
            ("video.mp4", media.video(LENGTH)),
            ("audio.wav", media.wav(LENGTH // 4)),
            ("picture.png", media.png()),
            ("paper.pdf", media.pdf()),
            ("text.txt", HTML),
            ("page.html", HTML),
            ("drawing.svg", SVG),
            ("page.xhtml", HTML),
            ("feed.xml", b"<?xml version='1.0'?>" + SVG),
            ("data.bin", HTML),
        ):
            pair.write(f"workspace/media/{name}", content)

    def setUp(self) -> None:
        if (missing := missing_program()) is not None:
            raise SkipTest(missing)
        super().setUp()
        self.application = Application(self.pair)
        self.addCleanup(self.application.server_close)
        self.addCleanup(self.application.shutdown)
        self.browser = self.pair.browser
        self.addCleanup(self.browser.go, "about:blank")

    def open(self, path: str) -> None:
        """Open *path* of the application."""
        self.browser.go(f"{self.application.url}/{path}")

    def until(self, script: str, what: str) -> Any:
        """:return: the first true value of a script."""
        return self.browser.until(lambda: self.browser.run(f"return {script}"), what)

    # -- uploading

    def assert_uploaded(self, expected: list[tuple[str, str, bytes]]) -> None:
        """The latest upload has stored these names, media types and contents."""
        self.browser.until(lambda: self.application.uploads, "the upload has arrived")
        response = self.application.uploads.pop()
        self.assertEqual(response.status, 200, response.body)
        found = []
        for entry in response.json["files"]:
            path = entry["uri"].removeprefix("workspace:/")
            with open(self.pair.at(path), "rb") as file:
                found.append((entry["originalName"], entry["mimeType"], file.read()))
        self.assertEqual(found, expected)

    def test_uploads_by_script(self) -> None:
        """``fetch`` with ``FormData``: odd names, an empty file, a type with parameters."""
        near = b"\r\n--\r\n------WebKitFormBoundary\r\n--"
        files = [
            ("plain.txt", "text/plain", near),
            ('say "hi"; filename=x.md', "text/markdown", b""),
            ("ü 日😀\\n\r\n.bin", "", bytes(range(256)) * 3000),
            ("", "image/png", b"\r\n"),
        ]
        self.open("form")
        self.browser.run(
            "const form = new FormData(); form.append('note', 'x');"
            f"for (const [name, type, bytes] of {json.dumps([(n, t, [*c]) for n, t, c in files])})"
            " form.append('files', new File([new Uint8Array(bytes)], name, {type}));"
            "fetch('/upload', {method: 'POST', body: form});"
        )
        # A file without a type is sent as application/octet-stream.
        octets = "application/octet-stream"
        self.assert_uploaded([(name, kind or octets, content) for name, kind, content in files])

    def test_uploads_by_form(self) -> None:
        """A form with files that were chosen; fields without a file are not stored."""
        names = ['q"uote.txt', "日本.png", "empty"]
        paths = [os.fsdecode(self.pair.write(f"sent/{n}", n.encode() * 9999)) for n in names[:2]]
        paths.append(os.fsdecode(self.pair.write("sent/empty")))
        self.open("form")
        self.browser.choose("[name=files]", paths)
        self.browser.run("document.forms[0].submit()")
        types = ["text/plain", "image/png", "application/octet-stream"]
        contents = [n.encode() * 9999 for n in names[:2]] + [b""]
        self.assert_uploaded(list(zip(names, types, contents, strict=True)))

    # -- seeking

    def seeks(self, name: str) -> None:
        """Play from the middle: the browser requests a range from there, and gets it."""
        self.open(f"page/{name}")
        media_element = "document.getElementById('media')"
        length = self.until(f"{media_element}.duration", "it knows how long it is")
        size = os.path.getsize(self.pair.at("workspace", "media", name))
        middle = length / 2
        self.browser.run(f"const m = {media_element}; m.currentTime = {middle}; m.play()")
        at = self.until(
            f"{media_element}.currentTime > {middle} + 0.2 && {media_element}.currentTime",
            "it plays on from the middle",
        )
        self.assertLess(at, middle + 25)
        self.assertIsNone(self.browser.run(f"return {media_element}.error"))
        seen = [each for each in self.application.seen if each[0] == name]
        firsts = []
        for _, asked, status in seen:
            self.assertIn(status, (206, 304) if asked else (200,), seen)
            if asked is not None and (match := re.fullmatch(r"bytes=(\d+)-\d*", asked)):
                firsts.append(int(match[1]))
        self.assertTrue([first for first in firsts if size * 0.4 < first < size * 0.6], seen)

    def test_seeks_in_a_video(self) -> None:
        """A video plays from the middle; the browser requests the part from there."""
        self.seeks("video.mp4")
        self.assertEqual(self.browser.run("return document.getElementById('media').videoWidth"), 64)

    def test_seeks_in_a_recording(self) -> None:
        """An audio file plays from the middle in the same way."""
        self.seeks("audio.wav")

    # -- showing

    def test_shown(self) -> None:
        """Images, PDF, plain text, audio and video are displayed in a sandbox."""
        self.open("file/picture.png?disposition=inline")
        self.assertEqual(self.browser.run("return document.images[0].naturalWidth"), 40)
        self.assert_colour()
        self.open("file/paper.pdf?disposition=inline")
        self.assert_colour()
        self.open("file/text.txt?disposition=inline")
        text = self.browser.run("return document.body.innerText")
        self.assertEqual((text, self.title), (HTML.decode(), ""))
        for name, length in (("audio.wav", LENGTH // 4), ("video.mp4", LENGTH)):
            self.open(f"file/{name}?disposition=inline")
            script = "document.querySelector('video, audio')"
            duration = self.until(f"{script}.duration", f"{name} is loaded")
            self.assertEqual(round(duration), length, name)

    def test_shown_again(self) -> None:
        """A cached image is revalidated and displayed again: the response is 304."""
        for _ in range(2):
            self.open("file/picture.png?disposition=inline")
            self.assert_colour()
            self.browser.go("about:blank")
        statuses = [status for name, _, status in self.application.seen if name == "picture.png"]
        self.assertEqual((statuses[0], statuses[-1]), (200, 304))

    @property
    def title(self) -> str:
        """The title of the current document."""
        return str(self.browser.run("return document.title"))

    def assert_colour(self) -> None:
        """The middle of the page has the colour of the sample files."""

        def is_coloured() -> bool:
            seen = media.png_pixel(self.browser.screenshot(), 0.5, 0.5)
            return all(abs(a - b) < 6 for a, b in zip(seen, media.COLOUR, strict=True))

        self.browser.until(is_coloured, "it is shown")

    # -- not showing

    def saved(self, name: str) -> bytes:
        """:return: a file that the browser has downloaded."""
        path = os.path.join(self.browser.downloads, name)
        # The browser creates an empty file first, and writes the content to another one.
        self.browser.until(
            lambda: os.path.exists(path) and os.path.getsize(path), f"{name} is downloaded"
        )
        with open(path, "rb") as file:
            return file.read()

    def is_saved(self, target: str, name: str, content: bytes) -> None:
        """Opening *target* downloads it and renders nothing."""
        self.open("page/nothing")
        with contextlib.suppress(AssertionError):  # the driver may report that nothing was loaded
            self.open(target)
        self.assertEqual(self.saved(name), content)
        self.assertEqual(self.title, "page", target)
        os.unlink(os.path.join(self.browser.downloads, name))

    def test_documents_are_saved(self) -> None:
        """HTML, SVG and XML are downloaded, even with ``disposition=inline``."""
        for name in ("page.html", "drawing.svg", "page.xhtml", "feed.xml", "data.bin"):
            with open(self.pair.at("workspace", "media", name), "rb") as file:
                content = file.read()
            self.is_saved(f"file/{name}?disposition=inline", name, content)
        self.is_saved("file/text.txt?", "text.txt", HTML)

    def hostile(self, content_type: bytes) -> Callable[[ServerConnection], object]:
        """:return: a workspace that serves HTML inline with this ``Content-Type``."""

        def script(peer: ServerConnection) -> None:
            peer.request()
            peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Disposition: inline; x=y\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (content_type, len(HTML), HTML)
            )

        return script

    def test_hostile_types(self) -> None:
        """HTML from a hostile workspace is downloaded, not rendered, whatever type it declares."""
        for content_type in (b"text/html", b"image/png;x=y, text/html", b"image/svg+xml"):
            server = ScriptedServer(self.hostile(content_type))
            self.addCleanup(server.close)
            workspace_id, token = self.pair.add(server.url)
            target = f"/workspaces/{workspace_id}/chat/download?path=/workspace/"
            self.application.targets["hostile"] = target, {"Authorization": f"Bearer {token}"}
            self.is_saved("hostile/x.png?disposition=inline", "x.png", HTML)
