"""
The web page in Chromium, found by roles and names (reference/page, "Roles and names").
"""

from __future__ import annotations

import io
import json
import os
import socket
import zipfile
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.docs import ROOT, read
from tests.live import media
from tests.live.axe import axe_source, faults
from tests.live.links import make_link
from tests.live.page_browser import PageBrowser
from tests.live.page_case import MANY, PageCase
from tests.live.processes import LONG_AGO, SOAK

UPLOAD: dict[str, Any] = {"operation": "upload"}


class SignInTests(PageCase):
    """Tokens."""

    def test_other_token(self) -> None:
        """A link with another token asks; what is refused changes nothing."""
        other = self.token("write")[1]
        browser = self.open()
        hash_of = f"location.hash = '#token={other}'; return 1"
        browser.run(f"window.asked = 0; window.confirm = () => {{ asked += 1; }}; {hash_of}")
        browser.until(lambda: browser.run("return asked") == 1, "the page asks")
        self.assertEqual(browser.run("return Object.values(sessionStorage)"), [self.pair.token])
        self.assertNotIn(other, browser.run("return location.href"))
        browser.node("link", "/workspace")
        browser.run(f"window.confirm = () => true; {hash_of}")
        browser.until(lambda: browser.names("button") == ["Forget", "Request files", "Upload"], "w")
        self.assertEqual(browser.run("return Object.values(sessionStorage)"), [other])

    def test_sign_in(self) -> None:
        """A wrong token is refused with a sentence; the right one shows the asked address."""
        browser = self.browser
        browser.go("about:blank")
        browser.go(f"{self.page}#/{self.pair.id}/workspace/src")
        browser.run("sessionStorage.clear()")
        browser.go("about:blank")
        browser.go(f"{self.page}#/{self.pair.id}/workspace/src")
        browser.enter("wrong", "textbox", "Token")
        browser.click("button", "Sign in")
        browser.status("This token is not valid")
        browser.devtools("Input.insertText", text="\u201cquoted\u201d")
        browser.run("document.querySelector('[role=status]').textContent = ''")
        browser.press("Enter")
        browser.status("This token is not valid")
        value = browser.apply("function() { return this.value }", "textbox", "Token")
        self.assertEqual(value, "\u201cquoted\u201d")
        browser.enter(self.pair.token, "textbox", "Token")
        browser.press("Enter")
        browser.node("button", "main.py")
        self.at("/workspace/src")
        self.assertNotIn("by a link", browser.run("return document.body.innerText"))

    def test_address(self) -> None:
        """A token in the address is removed from it; it survives a reload, and not *Forget*."""
        browser = self.open("")
        browser.node("link", "/workspace")
        self.assertNotIn(self.pair.token, browser.run("return location.href"))
        self.assertIn("live · signed in by a link", browser.run("return document.body.innerText"))
        self.assertEqual(browser.run("return document.cookie + localStorage.length"), "0")
        browser.run("location.reload()")
        browser.node("link", "/workspace")
        browser.click("button", "Forget")
        browser.node("textbox", "Token")
        self.assertEqual(browser.run("return sessionStorage.length"), 0)
        browser.run("location.reload()")
        browser.node("textbox", "Token")

    def test_revoked(self) -> None:
        """A token that was revoked leads back to the sign-in; another one continues there."""
        token_id, token = self.token("read")
        browser = self.open(token=token)
        self.revoke(token_id)
        browser.click("link", "src")
        browser.node("textbox", "Token")
        browser.status("no longer valid")
        browser.enter(self.pair.token, "textbox", "Token")
        browser.click("button", "Sign in")
        browser.node("button", "main.py")

    def test_scopes(self) -> None:
        """What a token does not allow is not offered."""
        browser = self.open(token=self.token("read")[1])
        browser.node("button", "hello.txt")
        self.assertFalse({"Upload", "Request files"} & set(browser.names("button")))
        browser = self.open("", token=self.token("write")[1])
        browser.node("button", "Upload")
        self.assertEqual(browser.all("table"), [])
        browser = self.open("", token=self.token("agent")[1])
        browser.node("heading", "Files")
        self.assertEqual(browser.names("button"), ["Forget"])

    def test_admin(self) -> None:
        """An administrator begins with the workspaces; an address of another one is explained."""
        browser = self.open("", token=self.pair.admin)
        browser.until(lambda: browser.focused() == "live", "the first workspace has the focus")
        browser.enter("live", "searchbox", "Filter")
        self.shown("1 of ")  # rendering the list again would lose a click
        browser.click("link", "live")
        browser.click("link", "/workspace")
        browser.node("button", "hello.txt")
        self.assertEqual(browser.names("link")[1:4], ["Workspaces", "live", "workspace"])
        other, _ = self.pair.add(None, name="other")
        browser = self.open()
        browser.run(f"location.hash = '#/{other}/workspace'")
        browser.click("link", "Go to my workspace")
        browser.node("link", "/workspace")


class BrowseTests(PageCase):
    """Lists."""

    def test_keyboard(self) -> None:
        """Arrow keys choose, Enter opens, Backspace goes up, and the focus is where one was."""
        browser = self.open()
        browser.apply("function() { this.focus(); }", "link", "out")
        browser.press("ArrowDown")
        self.assertEqual(browser.focused(), "src")
        browser.press("Enter")
        browser.until(lambda: browser.focused() == "main.py", "the first entry has the focus")
        browser.press("Backspace")
        browser.until(lambda: browser.focused() == "src", "the folder has the focus")
        browser.press("End")
        self.assertEqual(browser.focused(), "video.mp4")
        browser.press("Tab")
        self.assertEqual(browser.focused(), "Download video.mp4")
        browser.press("ArrowUp")
        self.assertEqual(browser.focused(), "Download picture.png")
        browser.press("Backspace")
        browser.until(lambda: browser.focused() == "/workspace", "the root has the focus")
        self.at("")

    def test_columns(self) -> None:
        """The table has sizes and times, and is sorted by a click on a header."""
        browser = self.open()
        browser.node("table", "Files")
        headers = ["Selection", "Name", "Size", "Modified", "Actions"]
        self.assertEqual(browser.names("columnheader"), headers)
        browser.click("button", "Size")
        browser.click("button", "Size")
        order = browser.apply("function() { return this.ariaSort }", "columnheader", "Size")
        self.assertEqual(order, "descending")
        first = browser.run("return document.querySelector('tbody tr').innerText")
        self.assertRegex(first, r"\Avideo\.mp4\s+3\.5 MB\s")

    def test_states(self) -> None:
        """An empty folder, a missing one, and a file's address."""
        browser = self.open("/workspace/empty")
        browser.node("heading", "This folder is empty")
        self.go_to("/workspace/nothing")
        browser.node("heading", "file not found")
        self.assertRegex(browser.run("return document.body.innerText"), "Request id: [0-9a-f]{32}")
        os.mkdir(self.pair.at("workspace", "nothing"))
        self.addCleanup(os.rmdir, self.pair.at("workspace", "nothing"))
        browser.click("button", "Try again")
        browser.node("heading", "This folder is empty")
        browser.run(f"location.hash = '#/{self.pair.id}/workspace/src/main.py'")
        browser.node("button", "main.py")
        self.at("/workspace/src")

    def make_many(self, name: str, number: int) -> None:
        """Make a directory with so many files."""
        directory = self.pair.at("workspace", name)
        os.mkdir(directory)
        for each in range(number):
            os.close(os.open(f"{directory}/file-{each:05}", os.O_CREAT))

    def test_accessible(self) -> None:
        """Assistive technology finds all of the first 1000 entries, also out of sight."""
        self.make_many("thousand", 1000)
        self.open("/workspace/thousand").node("button", "file-00999")

    def test_many(self) -> None:
        """
        Each page of a large folder is loaded once; after the first one, what is not in sight is not
        laid out.
        """
        self.make_many("many", MANY)
        browser = self.open("")
        # A new document, in which nothing is found by its role: an accessibility tree is slow.
        browser.run("location.reload()")
        browser.until(lambda: browser.run("return document.querySelector('a.main')"), "the roots")
        self.go_to("/workspace/many")
        rows = "document.querySelectorAll('tbody tr').length"
        browser.until(lambda: browser.run(f"return {rows}"), "the first page")
        self.assertLess(browser.run(f"return {rows}"), MANY)
        scrolled = f"scrollTo(0, document.body.scrollHeight); return {rows} >= {MANY}"
        browser.until(lambda: browser.run(scrolled), "all pages are loaded")
        asked = "performance.getEntriesByType('resource').filter(e => /fs.entries/.test(e.name))"
        found = browser.run(f"return [{rows}, {asked}.length]")
        self.assertEqual(found, [MANY, -(-MANY // 1000)])
        style = "return getComputedStyle(document.querySelector('tbody:last-child'))"
        self.assertEqual(browser.run(f"{style}.contentVisibility"), "auto")
        self.keep("many")
        browser.run("document.querySelectorAll('button.main')[500].focus()")
        covered = """
            const top = document.activeElement.getBoundingClientRect().top;
            return top < document.querySelector('.top').getBoundingClientRect().bottom"""
        for _ in range(20):
            browser.press("ArrowUp")
            self.assertFalse(browser.run(covered), "the focus is below the header")
        self.assertEqual(browser.run("return document.activeElement.innerText"), "file-00480")
        browser.run(
            f"const filter = document.querySelector('[type=search]'); filter.value = '{MANY - 1}';"
            "filter.dispatchEvent(new Event('input'))"
        )
        browser.until(lambda: browser.run(f"return {rows} === 1"), "the filter is applied")
        left = browser.run("return document.querySelector('tbody').innerText")
        self.assertIn(f"file-{MANY - 1:05}", left)

    def test_deep(self) -> None:
        """A path of thousands of segments is shown as its beginning and end."""
        browser = self.open("")
        deep = "/a" * 6000
        browser.run(f"location.hash = '#/{self.pair.id}/workspace{deep}'")
        browser.node("heading", "invalid path")
        crumbs = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.innerText)")
        self.assertEqual(crumbs[:4], ["live", "workspace", "a", "…"])
        self.assertLess(len(crumbs), 30)
        hidden = browser.run("return document.querySelectorAll('nav a')[3].hash.length")
        self.assertGreater(hidden, 10_000)


class FileTests(PageCase):
    """Previews and downloads."""

    def test_previews(self) -> None:
        """Pictures, text, PDF and video appear in the panel; the last can be sought in."""
        browser = self.open()
        browser.click("button", "picture.png")
        browser.node("image", "Preview of picture.png")
        width = "return document.querySelector('.preview img').naturalWidth"
        browser.until(lambda: browser.run(width) == 40, "the picture is loaded")
        browser.press("Escape")
        self.assertEqual(browser.focused(), "picture.png")

        browser.click("button", "data.csv")
        browser.node("region", "Preview of data.csv")
        text = browser.run("return document.querySelector('.preview pre').textContent")
        self.assertEqual(text, "a,b\n1,2\n")
        browser.press("Escape")

        browser.click("button", "long.txt")
        browser.node("region", "Preview of long.txt")
        text = browser.run("return document.querySelector('.preview pre').textContent")
        self.assertIn("The first 256 KB of", browser.run("return document.body.innerText"))
        self.assertEqual(len(text) + text.count("e0"), 256 * 1024)
        browser.click("button", "Close preview")

        browser.click("button", "paper.pdf")
        browser.until(lambda: _is_coloured(browser), "the PDF is shown")
        browser.press("Escape")

        browser.click("button", "video.mp4")
        video = "document.querySelector('video')"
        browser.until(lambda: browser.run(f"return {video}?.duration"), "the video is loaded")
        browser.run(f"{video}.currentTime = 30; {video}.play()")
        browser.until(lambda: browser.run(f"return {video}.currentTime > 30.1"), "it plays on")
        self.assertIsNone(browser.run(f"return {video}.error"))
        browser.press("Escape")
        browser.gone("complementary", "Preview")

    def test_download(self) -> None:
        """Files and folders are downloaded by the browser; the page remains."""
        browser = self.open()
        browser.click("button", "Download hello.txt")
        self.assertEqual(self.saved("hello.txt"), b"Hello!\n")
        browser.click("button", "Download odd-\ufffd.txt")
        self.assertEqual(self.saved("odd-\ufffd.txt"), b"odd")
        browser.click("button", "Download src")
        with zipfile.ZipFile(io.BytesIO(self.saved("src.zip"))) as archive:
            self.assertEqual(archive.read("src/main.py"), b"print('hello')\n")
        browser.click("checkbox", "Select hello.txt")
        browser.click("checkbox", "Select page.html")
        browser.click("button", "Download selected")
        self.assertEqual(self.saved("hello.txt"), b"Hello!\n")
        self.assertIn(b"<script>", self.saved("page.html"))
        self.at("/workspace")

    def test_large_download(self) -> None:
        """The browser's own manager downloads 2 GiB, and the memory of the tab does not grow."""
        if not SOAK:
            raise SkipTest("takes long: set CHATFILES_SOAK=1")
        size = 2 << 30
        path = self.pair.write("workspace/large.bin")
        os.truncate(path, size)
        self.addCleanup(os.unlink, path)
        browser = self.open()
        before = browser.memory()
        browser.click("button", "Download large.bin")
        saved = os.path.join(browser.downloads, "large.bin")
        browser.until(
            lambda: os.path.exists(saved) and os.path.getsize(saved) == size, "it is downloaded"
        )
        self.assertLess(browser.memory() - before, 64 << 20)
        os.unlink(saved)
        self.at("/workspace")

    def test_refused_download(self) -> None:
        """A file that has vanished is a sentence with the request id; the page remains."""
        self.pair.write("workspace/vanishing", b"x")
        browser = self.open()
        browser.node("button", "Download vanishing")
        os.unlink(self.pair.at("workspace", "vanishing"))
        browser.click("button", "Download vanishing")
        browser.status(
            "vanishing: file not found · It may have been moved or deleted. · Request id: "
        )
        self.at("/workspace")

    def test_ignored_range(self) -> None:
        """Of a text only the beginning is read, though the workspace sends all of it."""
        browser = self.open()
        browser.run("""
            window.pulled = 0;
            const fetched = window.fetch;
            window.fetch = async (url, options) => {
              if (!options?.headers?.Range) return fetched(url, options);
              return new Response(new ReadableStream({pull: (to) => {
                if ((pulled += 1) > 100) return to.close();
                to.enqueue(new TextEncoder().encode("0".repeat(65536)));
              }}));
            };""")
        browser.click("button", "long.txt")
        browser.node("region", "Preview of long.txt")
        self.assertLess(browser.run("return pulled"), 10)

    def test_hostile(self) -> None:
        """Names and contents that try to run something run nothing."""
        name = "<img src=x onerror=document.title='executed'>.txt"
        turned = "photo\u202egnp.html"
        folder = "workspace/hostile"
        script = b"<script>parent.document.title = document.title = 'executed'</script>"
        self.pair.write(f"{folder}/{name}", script)
        self.pair.write(f"{folder}/{turned}", script)
        self.pair.write(f"{folder}/\U000e0061tag ", b"")
        self.pair.write(f"{folder}/ \u3164", b"")
        svg = b'<svg xmlns="http://www.w3.org/2000/svg">%b</svg>' % script
        self.pair.write(f"{folder}/x.svg", svg)
        browser = self.open("/workspace/hostile")
        browser.click("button", name)
        browser.node("region", f"Preview of {name}")
        browser.press("Escape")
        shown = browser.run("return document.body.innerText")
        for text in ("photo⟨202E⟩gnp.html", "⟨E0061⟩tag⟨0020⟩", "⟨0020⟩⟨3164⟩"):
            self.assertIn(text, shown)
        browser.click("button", turned)
        browser.until(lambda: os.listdir(browser.downloads), "it is downloaded")
        browser.click("button", "x.svg")
        self.assertIn(b"<svg", self.saved("x.svg"))

    def test_hostile_pdf(self) -> None:
        """The viewer runs the script of a PDF, and it reaches neither a server nor the page."""
        with socket.create_server(("127.0.0.1", 0)) as canary:
            url = f"http://127.0.0.1:{canary.getsockname()[1]}/"
            attempts = "".join(f"try {{ {each} }} catch (error) {{}}" for each in _ATTEMPTS)
            first, *others = (
                _run(f"var url = '{url}'; {attempts}"),
                *(each % url.encode() for each in _ACTIONS),
                _run("this.getField('cover').hidden = typeof fetch == 'undefined'"),
            )
            action = b"%b /Next [ %b ] >>" % (first[:-2], b" ".join(others))
            self.pair.write("workspace/hostile/x.pdf", media.pdf(action))
            browser = self.open("/workspace/hostile")
            before = browser.run("return location.href")
            browser.click("button", "x.pdf")
            browser.until(lambda: _is_coloured(browser), "the PDF is shown, and its script has run")
            canary.setblocking(False)
            self.assertRaises(BlockingIOError, canary.accept)
        self.assertTrue(self.title.startswith("hostile"), self.title)
        self.assertEqual(browser.run("return location.href"), before)


#: What the script of a PDF may try: the network, the page, and its address.
_ATTEMPTS = (
    "this.submitForm(url)",
    "app.launchURL(url, false)",
    "app.launchURL('javascript:document.title=1')",
    "this.getURL(url, false)",
    "app.openDoc(url)",
    "Net.HTTP.request({cVerb: 'GET', cURL: url})",
    "SOAP.connect(url)",
    "fetch(url)",
    "this.hostContainer.postMessage(['executed'])",
    "top.document.title = 'executed'",
)
#: Actions without a script, for the URL.
_ACTIONS = (
    b"<< /S /URI /URI (%b) >>",
    b"<< /S /SubmitForm /F << /FS /URL /F (%b) >> >>",
    b"<< /S /Launch /F (%b) >>",
    b"<< /S /GoToR /F << /FS /URL /F (%b) >> /D [0 /Fit] >>",
    b"<< /S /ImportData /F << /FS /URL /F (%b) >> >>",
)


def _run(script: str) -> bytes:
    """:return: the action of a PDF that runs this."""
    return b"<< /S /JavaScript /JS <%b> >>" % script.encode().hex().encode()


def _is_coloured(browser: PageBrowser) -> bool:
    """:return: whether there is a page of the PDF in the panel."""
    seen = [browser.colour(x, 400) for x in (900, 1100)]
    return any(
        all(abs(a - b) < 6 for a, b in zip(each, media.COLOUR, strict=True)) for each in seen
    )


class ShareTests(PageCase):
    """Links."""

    def test_prefix(self) -> None:
        """The address of the platform may itself contain what links begin with."""
        browser = self.open()
        browser.run("""
            const {get} = Object.getOwnPropertyDescriptor(XMLHttpRequest.prototype, "responseText");
            Object.defineProperty(XMLHttpRequest.prototype, "responseText", {get() {
              return get.call(this).replace(/"url": *"[^"]*?links/, '"url":"https://a.example/links/links');
            }});""")
        browser.click("button", "hello.txt")
        browser.until(lambda: "Hello!" in browser.run("return document.body.innerText"), "text")

    def test_share(self) -> None:
        """The dialog makes a link that opens without a token; Escape returns the focus."""
        browser = self.open()
        browser.click("button", "Share picture.png")
        browser.node("dialog", "Share")
        self.assertEqual(browser.focused(), "Expires after")
        script = "function() { return [...this.options].map(each => each.text) }"
        expiries = browser.apply(script, "combobox", "Expires after")
        self.assertEqual(expiries, ["1 hour", "1 day", "7 days"])
        browser.click("button", "Create link")
        link = browser.apply("function() { return this.value }", "textbox", "Link")
        answer = self.fetch(link)
        self.assertEqual((answer.status, answer.body), (200, media.png()))
        self.assertTrue(answer["content-disposition"].startswith("attachment"))
        browser.click("button", "Copy")
        browser.status("copied")
        change = "function() { this.selectedIndex = 1; this.dispatchEvent(new Event('change', "
        browser.apply(f"{change}{{bubbles: true}})) }}", "combobox", "Expires after")
        browser.gone("textbox", "Link")  # it would have another expiry
        browser.press("Escape")
        browser.gone("dialog", "Share")
        self.assertEqual(browser.focused(), "Share picture.png")

    def test_choices(self) -> None:
        """Expiry and disposition are those that were chosen; a folder is an archive."""
        browser = self.open()
        browser.click("button", "Share picture.png")
        choose = "function() { this.selectedIndex = this.length - 1 }"
        browser.apply(choose, "combobox", "Expires after")
        browser.apply(choose, "combobox", "When it is opened")
        browser.click("button", "Create link")
        link = browser.apply("function() { return this.value }", "textbox", "Link")
        values = dict(each.split("=") for each in link.partition("?")[2].split("&"))
        self.assertEqual(int(values["e"]) - int(values["i"]), 604800)
        self.assertTrue(self.fetch(link)["content-disposition"].startswith("inline"))
        browser.press("Escape")
        browser.click("button", "Share src")
        browser.click("button", "Create link")
        link = browser.apply("function() { return this.value }", "textbox", "Link")
        self.assertEqual(self.fetch(link)["content-type"], "application/zip")

    def test_request(self) -> None:
        """Files that are sent with an upload link, from another profile, arrive."""
        browser = self.open()
        browser.click("button", "Request files")
        browser.click("button", "Create link")
        link = browser.apply("function() { return this.value }", "textbox", "Link")
        browser.press("Escape")
        with PageBrowser() as other:
            other.go(link)
            other.node("heading", "Send files")
            self.assertEqual(other.names("button"), ["Upload files"])
            paths = [self.sent("a.txt", b"a"), self.sent("b.txt", b"b")]
            other.choose("input[type=file]", paths)
            other.status("All files have arrived")
            self.assertEqual(other.console(), [])
        self.assertEqual(self.uploads(), {"a.txt": b"a", "b.txt": b"b"})

    def test_expired(self) -> None:
        """A drop page says when its link has expired, and what to do about one that was revoked."""
        token_id, token = self.token("write")
        link = make_link(self.pair, self.url, {"Authorization": f"Bearer {token}"}, **UPLOAD)
        late = "const now = Date.now(); Date.now = () => now + 3600_000"
        with PageBrowser() as other:
            other.devtools("Page.addScriptToEvaluateOnNewDocument", source=late)
            other.go(self.url + link)
            text = "return document.body.innerText"
            other.until(lambda: "The link has expired" in other.run(text), "it says so")
            self.revoke(token_id)
            other.choose("input[type=file]", [self.sent("a.txt", b"a")])
            other.node("button", "Retry a.txt")
            self.assertIn("revoked · Ask the person who sent it", other.run(text))


class LookTests(PageCase):
    """How it looks, and what assistive technology makes of it."""

    def show(self, state: str) -> None:
        """Bring the page into a state."""
        browser = self.open()
        if state == "sign-in":
            browser.click("button", "Forget")
            browser.node("textbox", "Token")
        elif state == "roots":
            self.go_to("")
            browser.node("link", "/workspace")
        elif state == "workspaces":
            browser = self.open("", self.pair.admin)
            browser.node("link", "live")
        elif state == "empty":
            self.go_to("/workspace/empty")
            browser.node("heading", "This folder is empty")
        elif state == "error":
            self.go_to("/workspace/nothing")
            browser.node("heading", "file not found")
        elif state == "preview":
            browser.click("button", "hello.txt")
            browser.node("region", "Preview of hello.txt")
        elif state == "dialog":
            browser.click("button", "Share picture.png")
            browser.click("button", "Create link")
            browser.node("textbox", "Link")
        elif state == "uploads":
            self.go_to("/workspace/src")
            browser.choose("input[type=file]", [self.large("big.bin")])
            browser.node("button", "Retry big.bin")
        elif state in ("writable", "rename", "delete"):
            self.written("notes.txt")
            self.pair.write("workspace/out/full/x", b"")
            self.go_to("/workspace/out")
            browser.node("button", "Rename notes.txt")
            if state == "rename":
                browser.click("button", "Rename notes.txt")
                browser.node("dialog", "Rename")
            elif state == "delete":
                browser.click("button", "Delete full")
                browser.click("button", "Delete")
                self.shown("not empty")
        elif state == "interrupted":
            key = {"name": "data.bin", "size": 9, "lastModified": 9}
            url = f"{self.url}/workspaces/{self.pair.id}/uploads"
            name = json.dumps(f"chatfiles-upload {url}{json.dumps(key, separators=(',', ':'))}")
            browser.run(f"sessionStorage.setItem({name}, 'x'); location.reload()")
            browser.node("button", "Cancel data.bin")
        elif state == "drop":
            browser.go(self.url + make_link(self.pair, self.url, **UPLOAD))
            browser.node("button", "Upload files")

    def test_accessible(self) -> None:
        """axe-core finds nothing in any state, light or dark, wide or narrow."""
        source = axe_source()
        browser = self.browser
        self.addCleanup(browser.look)
        self.addCleanup(browser.devtools, "Emulation.clearDeviceMetricsOverride")
        found = []
        for state in STATES:
            self.show(state)
            for scheme, width in (("light", 1200), ("dark", 400)):
                browser.look(prefers_color_scheme=scheme)
                size = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": False}
                browser.devtools("Emulation.setDeviceMetricsOverride", **size)
                found += [f"{state} {scheme}: {fault}" for fault in faults(browser, source)]
                wide = browser.run("return document.documentElement.scrollWidth - innerWidth")
                self.assertLessEqual(wide, 0, (state, width))
                self.keep(f"{state}-{scheme}-{width}")
        self.assertEqual("\n".join(found), "")
        browser.run("document.body.append(new Image())")
        self.assertRegex("\n".join(faults(browser, source)), "image-alt")

    def test_picture(self) -> None:
        """
        The picture in README.md shows the page.  To take it again: run this test with
        ``CHATFILES_SCREENSHOTS=docs/images python -m twisted.trial``.
        """
        for name, content in (
            ("src/main.py", b"print('hello')\n"),
            ("tests/test_main.py", b""),
            ("report.pdf", media.pdf() + bytes(482_130)),
            ("chart.png", media.png(320, 200)),
            ("walkthrough.mp4", media.video(40)),
            ("measurements.csv", b"1,2,3\n" * 20_000),
            ("notes.txt", b"All 214 tests pass.\n"),
        ):
            self.pair.write(f"workspace/build-7/{name}", content)
        for name in ("src", "tests"):
            os.utime(self.pair.at("workspace", "build-7", name), (LONG_AGO, LONG_AGO))
        browser = self.open("/workspace/build-7")
        browser.node("button", "notes.txt")
        browser.run("document.activeElement.blur()")
        size = {"width": 1200, "height": 640, "deviceScaleFactor": 1, "mobile": False}
        browser.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.addCleanup(browser.devtools, "Emulation.clearDeviceMetricsOverride")
        self.keep("page")
        self.assertIn("](docs/images/page.png)", read("README.md"))
        self.assertLess(os.path.getsize(os.path.join(ROOT, "docs/images/page.png")), 100_000)


STATES = (
    "sign-in",
    "workspaces",
    "roots",
    "list",
    "empty",
    "error",
    "preview",
    "dialog",
    "uploads",
    "interrupted",
    "writable",
    "rename",
    "delete",
    "drop",
)
