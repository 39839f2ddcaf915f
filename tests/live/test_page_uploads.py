"""
Uploads and changes of files by the web page in Chromium (reference/page, "Uploads", "Changes").
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.live.cutting import BadLine
from tests.live.page_case import MOST, PageCase
from tests.live.processes import LONG_AGO
from tests.support.patience import PATIENCE

UPLOADS = "/workspace/.molecule/chat-uploads"
KEYS = "return Object.keys(sessionStorage)"
#: Lets a test replace requests: `replaced(request, method, url)` says whether it has responded.
REPLACE = """
const {open, send} = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.open = function (method, url) {
  this.what = [method, String(url)];
  return open.call(this, method, url);
};
XMLHttpRequest.prototype.send = function (body) {
  if (!replaced(this, ...this.what)) return send.call(this, body);
};
function respond(request, status, text = "") {
  Object.defineProperty(request, "status", {value: status});
  Object.defineProperty(request, "responseText", {value: text});
  request.onload();
  return true;
}
"""
#: Refuses the content of one file, once.
BREAK = (
    REPLACE
    + """
let left = 1;
window.replaced = (request, method) => method === "POST" && left-- === 1 && respond(request, 507);
"""
)
#: Workspaces without resumable uploads.
OLDER = (
    REPLACE
    + """
window.replaced = (request, method, url) => method === "POST" && url.endsWith("/uploads") &&
  !url.endsWith("/chat/uploads") && respond(request, 501);
"""
)
#: The browser is offline until a test sets ``online``; ``waited`` has the times between attempts.
OFFLINE = (
    REPLACE
    + """
window.online = false;
Object.defineProperty(navigator, "onLine", {get: () => online});
const timer = window.setTimeout;
window.waited = [];
window.setTimeout = (act, ms) => {
  if ([1000, 2000, 4000].includes(ms)) waited.push(ms);
  return timer(act, ms);
};
window.replaced = (request, method) => {
  if (!online && method === "PATCH") request.onerror();
  return !online && method === "PATCH";
};
"""
)
#: What the page asks about uploads: method and offset.
LISTEN = """
window.asked = [];
const {open, setRequestHeader} = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.open = function (method, url) {
  this.method = method;
  if (method === "HEAD") asked.push(method);
  return open.call(this, method, url);
};
XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
  if (name === "Upload-Offset") asked.push(`${this.method} ${value}`);
  return setRequestHeader.call(this, name, value);
};
"""
#: ``shown`` has what the list of uploads has said about a file.
SHOWN = """
window.shown = [];
new MutationObserver(() => {
  const note = document.querySelector(".uploads li .note");
  if (note) shown.push(note.textContent);
}).observe(document.body, {subtree: true, childList: true, characterData: true});
"""
#: Drops a file on the page.
DROP = """
const data = new DataTransfer(); data.items.add(new File(['dropped'], 'd.txt'));
const how = {dataTransfer: data, bubbles: true, cancelable: true};
for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, how));
"""
#: Records where the page sends uploads, and sends none of them.
RECORD = (
    REPLACE
    + """
window.opened = [];
window.replaced = (request, method, url) => method === "POST" && Boolean(opened.push(url));
"""
)
#: Responds to uploads with a text.
RESPOND = (
    REPLACE
    + "window.replaced = (request, method) => method === 'POST' && respond(request, 200, %r);"
)


class _Passing(BaseHTTPRequestHandler):
    server: RefusingProxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PATCH" and self.server.refusals:
            status, text, retry_after = self.server.refusals.pop(0)
            self.send_response(status)
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self._end(text)
            return
        platform = http.client.HTTPConnection("127.0.0.1", self.server.platform, timeout=PATIENCE)
        with contextlib.closing(platform):
            platform.request(self.command, self.path, body, dict(self.headers))
            answer = platform.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self._end(answer.read())

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = _pass_on

    def _end(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


class RefusingProxy(ThreadingHTTPServer):
    """
    A proxy that itself responds to the first requests with content of a resumable upload.

    :param platform: the port behind it.
    :param refusals: statuses, bodies and values of ``Retry-After``.
    """

    daemon_threads = True

    def __init__(self, platform: int, refusals: list[tuple[int, bytes, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.platform, self.refusals = platform, refusals
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: a browser that disconnects is no error."""


class UploadTests(PageCase):
    """Uploads."""

    def test_refusals(self) -> None:
        """
        What passes is tried again, after the time that the response says; anything else is shown,
        and *Retry* continues.
        """
        body = b'{"error": "%b", "code": "x", "request_id": "0123"}'
        proxy = RefusingProxy(
            self.pair.platform.port,
            [
                (423, body % b"upload is locked", "1"),
                (429, body % b"too many transfers", "1"),
                (502, b"<html>Bad Gateway</html>", "1"),
                (507, body % b"no space left", ""),
            ],
        )
        self.addCleanup(proxy.server_close)
        self.addCleanup(proxy.shutdown)
        browser = self.browser
        browser.go(f"{proxy.url}/ui/style.css")
        browser.run("sessionStorage.clear()")
        browser.go(f"{proxy.url}/ui/#token={self.pair.token}")
        browser.node("link", "/workspace")
        browser.run(SHOWN)
        content = os.urandom(1_200_000)
        browser.choose("input[type=file]", [self.sent("data.bin", content)])
        browser.node("button", "Retry data.bin")
        self.assertEqual(proxy.refusals, [])
        shown = browser.run("return shown")
        for text in (
            "upload is locked · Trying again…",
            "too many transfers · Trying again…",
            "The server responded with status 502. · Trying again…",
            "no space left · Request id: 0123",
        ):
            self.assertIn(text, shown)
        browser.click("button", "Retry data.bin")
        browser.status("1 file stored.")
        self.assertEqual(self.uploads(), {"data.bin": content})

    def test_hostile_address(self) -> None:
        """An address that names no workspace, or another one, takes no files."""
        other, _ = self.pair.add(None, name="other")
        browser = self.open()
        browser.run(RECORD)
        browser.run(f"location.hash = '#/{other}/workspace'")
        browser.node("link", "Go to my workspace")
        browser.run(DROP)
        self.assertEqual(browser.run("return opened"), [])
        browser.run(r"location.hash = '#/..\\links\\upload?w=x&p='")
        browser.node("link", "/workspace")
        browser.run(DROP)
        own = f"{self.pair.platform.url}/workspaces/{self.pair.id}/chat/uploads"
        self.assertEqual(browser.run("return opened"), [own])
        self.at("")

    def test_response_of_something_else(self) -> None:
        """An upload fails whose response is none of chatfiles."""
        for text in ("<html>", "{}", '{"files":[{}]}'):
            browser = self.open()
            browser.run(RESPOND % text)
            browser.run(DROP)
            browser.node("button", "Retry d.txt")

    def test_upload(self) -> None:
        """Of three files one is refused, and one is sent again; the page opens their folder."""
        paths = [
            self.sent("one.txt", b"1" * 5000),
            self.large("big.bin"),
            self.sent("three.md", b"3"),
        ]
        browser = self.open()
        browser.run(BREAK)
        browser.choose("input[type=file]", paths)
        browser.status("file stored, 2 failed.")
        self.at(UPLOADS)
        text = browser.run("return document.querySelector('.uploads').innerText")
        self.assertRegex(text, r"upload exceeds limit \(\d+ bytes\) · Request id: [0-9a-f]{32}")
        self.assertIn("The server responded with status 507", text)
        names = ["one.txt", "three.md"]
        (broken,) = [each for each in names if browser.all("button", f"Retry {each}")]
        browser.click("button", f"Retry {broken}")
        browser.status("1 file stored, 1 failed.")
        browser.gone("button", f"Retry {broken}")
        self.assertEqual(self.uploads(), {"one.txt": b"1" * 5000, "three.md": b"3"})
        browser.click("button", "Clear finished")
        browser.gone("region", "Uploads")

    def test_cancel(self) -> None:
        """While a file is sent there is its progress; it can be cancelled, and leaves nothing."""
        browser = self.open()
        browser.devtools("Network.enable")
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
        browser.devtools("Network.emulateNetworkConditions", **slow, uploadThroughput=20_000)
        before = self.uploading()
        browser.choose("input[type=file]", [self.sent("slow.bin", bytes(1_200_000))])
        bar = browser.node("progressbar", "slow.bin")
        self.assertIsNotNone(bar.get("value"), bar)
        browser.click("button", "Cancel slow.bin")
        browser.node("button", "Retry slow.bin")
        browser.devtools("Network.emulateNetworkConditions", **slow, uploadThroughput=-1)
        self.assertEqual(browser.all("progressbar"), [])
        browser.until(lambda: self.uploading() == before, "nothing is left of it")
        self.assertEqual(self.uploads(), {})
        self.assertEqual(browser.run(KEYS), ["chatfiles-token"])
        self.at("/workspace")

    def test_drop(self) -> None:
        """Files that are dropped anywhere are uploaded."""
        browser = self.open()
        browser.node("table", "Files")  # the title is there before the list
        browser.run(
            "const data = new DataTransfer(); data.items.add(new File(['dropped'], 'd.txt'));"
            "const how = {dataTransfer: data, bubbles: true, cancelable: true};"
            "for (const type of ['dragover', 'drop'])"
            " document.querySelector('table').dispatchEvent(new DragEvent(type, how))"
        )
        self.at(UPLOADS)
        self.assertEqual(self.uploads(), {"d.txt": b"dropped"})

    def test_form(self) -> None:
        """A small file is sent as a form, and a large one where there are no resumable uploads."""
        for script, size in ((LISTEN, 1 << 20), (OLDER, (1 << 20) + 1)):
            browser = self.open()
            browser.run(script)
            browser.choose("input[type=file]", [self.sent("file.bin", bytes(size))])
            browser.status("1 file stored.")
            self.assertEqual(self.uploads(), {"file.bin": bytes(size)})
            self.assertEqual(browser.run("return window.asked ?? []"), [])

    def test_offline(self) -> None:
        """While the browser is offline, an upload waits until it no longer is."""
        browser = self.open()
        browser.run(OFFLINE)
        browser.choose("input[type=file]", [self.sent("offline.bin", bytes(1_200_000))])
        self.shown("Trying again")
        self.assertEqual(self.uploads(), {})
        self.assertEqual(browser.run("return waited"), [])
        browser.run("online = true; dispatchEvent(new Event('online'))")
        browser.status("1 file stored.")
        self.assertEqual(self.uploads(), {"offline.bin": bytes(1_200_000)})

    def test_twice(self) -> None:
        """A file that is being sent is not sent twice."""
        browser = self.open()
        path = self.sent("same.txt", b"same")
        browser.choose("input[type=file]", [path, path])
        browser.status("1 file stored.")
        self.assertEqual(self.uploads(), {"same.txt": b"same"})

    def test_resume(self) -> None:
        """
        An upload continues where its connection was lost, and after a reload where it was, when
        its file is chosen again.
        """
        content = os.urandom(MOST)
        path = self.sent("large.bin", content)
        browser = self.browser
        sent = "return document.querySelector('progress')?.value ?? 0"
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
        limit = functools.partial(browser.devtools, "Network.emulateNetworkConditions", **slow)
        with BadLine(self.pair.platform.port, []) as line:
            browser.go(f"{line.url}/ui/style.css")
            browser.run("sessionStorage.clear()")
            browser.go(f"{line.url}/ui/#token={self.pair.token}")
            browser.node("link", "/workspace")
            browser.run(LISTEN)
            browser.devtools("Network.enable")
            self.addCleanup(limit, uploadThroughput=-1)
            limit(uploadThroughput=1_000_000)
            browser.choose("input[type=file]", [path])
            browser.until(lambda: browser.run(sent) > MOST / 4, "a quarter is sent")
            line.cut()
            self.shown("Trying again")
            browser.until(lambda: browser.run(sent) > MOST / 2, "it continues")
            asked = browser.run("return asked")
            self.assertEqual((asked[:2], len(asked)), (["PATCH 0", "HEAD"], 3))
            self.assertGreater(int(asked[2].removeprefix("PATCH ")), 0)

            unasked = "addEventListener('beforeunload', e => e.stopImmediatePropagation(), true)"
            browser.run(f"{unasked}; location.reload()")
            self.shown("Choose this file again")
            kept = browser.run("return JSON.stringify(sessionStorage)")
            self.assertEqual(kept.count(self.pair.token), 1, "only as the token")
            limit(uploadThroughput=-1)
            browser.run(LISTEN)
            browser.choose("input[type=file]", [path])
            browser.status("1 file stored.")
            asked = browser.run("return asked")
            self.assertEqual((asked[0], len(asked)), ("HEAD", 2))
            self.assertGreater(int(asked[1].removeprefix("PATCH ")), MOST / 4)
            self.assertEqual(self.uploads(), {"large.bin": content})
            self.assertEqual(browser.run(KEYS), ["chatfiles-token"])

    def test_forget(self) -> None:
        """*Forget* ends uploads, and nothing of them is left."""
        browser = self.open()
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
        browser.devtools("Network.enable")
        limit = functools.partial(browser.devtools, "Network.emulateNetworkConditions", **slow)
        self.addCleanup(limit, uploadThroughput=-1)
        limit(uploadThroughput=20_000)
        before = self.uploading()
        browser.choose("input[type=file]", [self.sent("slow.bin", bytes(1_200_000))])
        kept = "return Object.keys(sessionStorage).length"
        browser.until(lambda: browser.run(kept) == 2, "the upload has begun")
        browser.click("button", "Forget")
        browser.node("textbox", "Token")
        self.assertEqual(browser.run(kept), 0)
        browser.until(lambda: self.uploading() == before, "nothing is left of it")


class ChangeTests(PageCase):
    """Renaming, deleting and creating, in ``/workspace/out``."""

    def names(self) -> set[str]:
        """:return: what is in the directory."""
        return set(os.listdir(self.pair.at("workspace", "out")))

    def setUp(self) -> None:
        super().setUp()
        shutil.rmtree(self.pair.at("workspace", "out"))
        os.mkdir(self.pair.at("workspace", "out"))

    def test_keyboard(self) -> None:
        """Rename, delete after one question, and create: by keyboard; the focus follows."""
        for name in ("a.txt", "b.txt"):
            self.written(name)
        browser = self.open("/workspace/out")
        browser.apply("function() { this.focus(); }", "button", "a.txt")
        browser.press("F2")
        browser.node("dialog", "Rename")
        self.assertEqual(browser.focused(), "Name")
        browser.devtools("Input.insertText", text="c")  # in place of what is selected
        browser.press("Enter")
        browser.status("a.txt is now c.txt.")
        self.assertEqual((self.names(), browser.focused()), ({"b.txt", "c.txt"}, "c.txt"))
        browser.press("Delete")
        browser.node("dialog", "Delete")
        self.assertEqual(browser.focused(), "Cancel")
        browser.press("Enter")
        browser.gone("dialog", "Delete")
        self.assertEqual((self.names(), browser.focused()), ({"b.txt", "c.txt"}, "c.txt"))
        browser.press("Delete")
        browser.node("dialog", "Delete")
        browser.press("Tab")
        browser.press("Enter")
        browser.status("Deleted: c.txt.")
        browser.until(lambda: browser.focused() == "b.txt", "the next file has the focus")
        self.assertEqual(self.names(), {"b.txt"})
        browser.click("button", "New folder")
        browser.node("dialog", "New folder")
        browser.devtools("Input.insertText", text="späti 100%")
        browser.press("Enter")
        browser.status("späti 100% was created.")
        self.assertEqual((self.names(), browser.focused()), ({"b.txt", "späti 100%"}, "späti 100%"))

    def test_selected(self) -> None:
        """Several things are deleted after one question; a link, and not what it leads to."""
        for name in ("a.txt", "b.txt", "c.txt"):
            self.written(name)
        os.symlink("c.txt", self.pair.at("workspace", "out", "link"))
        browser = self.open("/workspace/out")
        browser.click("button", "Delete link")
        browser.click("button", "Delete")
        browser.status("Deleted: link.")
        browser.click("checkbox", "Select a.txt")
        browser.click("checkbox", "Select b.txt")
        browser.click("button", "Delete selected")
        browser.click("button", "Delete")
        browser.status("Deleted: 2 items.")
        self.assertEqual(self.names(), {"c.txt"})
        self.assertEqual(browser.all("button", "Delete selected"), [])

    def test_refused(self) -> None:
        """A file that has changed since is kept, and a folder with files; the dialog says why."""
        path = self.written("a.txt")
        self.pair.write("workspace/out/full/x", b"")
        browser = self.open("/workspace/out")
        browser.node("button", "Delete a.txt")
        with open(path, "wb") as file:
            file.write(b"changed")
        os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
        for name, reason in (
            ("a.txt", "precondition failed · It has changed."),
            ("full", "directory is not empty · Delete what is in it first."),
        ):
            browser.click("button", f"Delete {name}")
            browser.click("button", "Delete")
            self.shown(reason)
            self.assertRegex(self.text, reason + r".* · Request id: [0-9a-f]{32}")
            browser.press("Escape")
            browser.gone("dialog", "Delete")
            self.assertEqual(browser.focused(), f"Delete {name}")
        browser.click("button", "Rename a.txt")
        browser.enter("full", "textbox", "Name")
        browser.press("Enter")
        self.shown("Request id:")
        self.assertEqual(self.names(), {"a.txt", "full"})
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"changed")

    def test_not_writable(self) -> None:
        """Where the workspace or the token allows no change, none is offered."""
        self.written("a.txt")
        browser = self.open("/workspace")
        browser.node("button", "hello.txt")
        changes = {"New folder", "Rename hello.txt", "Delete hello.txt"}
        self.assertFalse(changes & set(browser.names("button")))
        browser.apply("function() { this.focus(); }", "button", "hello.txt")
        browser.press("Delete")
        self.assertEqual(browser.all("dialog"), [])
        browser = self.open("/workspace/out", self.token("read")[1])
        browser.node("button", "Download a.txt")
        self.assertFalse({"New folder", "Delete a.txt"} & set(browser.names("button")))
