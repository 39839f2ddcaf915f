"""
What the tests of the web page share: one pair, one browser, and what they find in the workspace.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.docs import ROOT
from tests.live import media
from tests.live.browser import missing_program
from tests.live.page_browser import PageBrowser
from tests.live.processes import LONG_AGO, SOAK, LiveCase, Pair
from tests.live.rawhttp import fetch
from tests.support.network_changes import steady_network

__all__ = ["MANY", "MOST", "PageCase"]

#: Files of the large folder: several pages of 1000.
MANY = 10_000 if SOAK else 2100
#: Bytes of the largest upload.
MOST = 8 << 20
#: How the names of unfinished uploads begin.
PARTIAL = ".chatfiles-part-"
#: What a browser logs when it refuses something because of a policy, or when a script fails.
_REPORTS = re.compile(
    r"Content.Security.Policy|Refused to|Trusted(?:HTML|Script)|violat|Uncaught", re.I
)


class PagePair(Pair):
    """Both roles, and a browser that all tests of the page share."""

    def __init__(self) -> None:
        super().__init__(
            both=["--max-file-bytes=2M", f"--max-resumable-bytes={MOST}", "--drain-timeout=1"],
            workspace=["--writable=/workspace/out"],
        )
        try:
            self.browser = PageBrowser()
        except BaseException:
            super().discard()
            raise

    def discard(self) -> None:
        """Stop the browser, too."""
        self.browser.close()
        super().discard()

    def stop(self) -> None:
        """Stop the browser first: it holds connections."""
        self.browser.close()
        super().stop()


class PageCase(LiveCase):
    """The page in a browser, as a person with a token sees it."""

    pair: PagePair

    @classmethod
    def make_pair(cls) -> Pair:
        return PagePair()

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        for name, content in (
            ("hello.txt", b"Hello!\n"),
            ("data.csv", b"a,b\n1,2\n"),
            ("long.txt", b"0123456789abcde\n" * 20_000),
            ("page.html", b"<script>document.title = 'executed'</script>"),
            ("paper.pdf", media.pdf()),
            ("picture.png", media.png()),
            ("video.mp4", media.video(60)),
            ("odd-\udcff.txt", b"odd"),
            ("src/main.py", b"print('hello')\n"),
        ):
            pair.write(os.fsencode(f"workspace/{name}"), content)
        os.makedirs(pair.at("workspace", "empty"), exist_ok=True)
        os.makedirs(pair.at("workspace", "out"), exist_ok=True)

    def setUp(self) -> None:
        if (missing := missing_program()) is not None:
            raise SkipTest(missing)
        super().setUp()
        steady = ExitStack()
        steady.enter_context(steady_network())
        self.addCleanup(steady.close)
        self.browser = self.pair.browser
        self.url = self.pair.platform.url
        self.page = f"{self.pair.platform.url}/ui/"
        self.browser.console()
        self.addCleanup(self.assert_no_reports)

    def assert_no_reports(self) -> None:
        """The browser has refused nothing because of a policy, and no script has failed."""
        found = [line for line in self.browser.console() if _REPORTS.search(line)]
        self.browser.go("about:blank")
        self.assertEqual(found, [])

    def open(self, path: str = "/workspace", token: str | None = None) -> PageBrowser:
        """:return: the browser, signed in, at a directory whose list is there."""
        self.browser.go(f"{self.page}style.css")
        self.browser.run("sessionStorage.clear()")
        self.browser.go(f"{self.page}#token={token or self.pair.token}")
        self.browser.node("button", "Forget")
        if path:
            self.go_to(path)
        return self.browser

    def go_to(self, path: str, workspace: str | None = None) -> None:
        """Open a directory of the workspace, by its address."""
        address = f"#/{workspace or self.pair.id}{path}"
        self.browser.run(f"location.hash = {json.dumps(address)}")
        last = path.rpartition("/")[2]
        self.browser.until(lambda: self.title.startswith(last), f"{path} is shown")

    @property
    def title(self) -> str:
        """The title of the document."""
        return str(self.browser.run("return document.title"))

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.browser.run("return document.body.innerText"))

    def shown(self, text: str) -> None:
        """Wait until the page shows this."""
        self.browser.until(lambda: text in self.text, f"{text!r} is shown")

    @property
    def address(self) -> str:
        """The fragment of the page's address."""
        return str(self.browser.run("return location.hash"))

    def at(self, path: str) -> None:
        """Wait until the page is at a directory of the workspace."""
        expected = f"#/{self.pair.id}{path}"
        self.browser.until(lambda: self.address == expected, f"the address is {expected}")

    def token(self, *scopes: str) -> tuple[str, str]:
        """:return: the id of a new token of the workspace, and the token."""
        body = json.dumps({"scopes": scopes}).encode()
        made = self.pair.as_admin("POST", f"/workspaces/{self.pair.id}/tokens", body).json
        self.pair.hide(made["token"])
        return made["id"], made["token"]

    def revoke(self, token_id: str) -> None:
        """Revoke a token."""
        answer = self.pair.as_admin("DELETE", f"/workspaces/{self.pair.id}/tokens/{token_id}")
        self.assertEqual(answer.status, 204)

    def saved(self, name: str) -> bytes:
        """:return: a file that the browser has downloaded."""
        path = os.path.join(self.browser.downloads, name)
        partial = path + ".crdownload"
        # The browser creates an empty file first, and writes the content to another one.
        self.browser.until(
            lambda: os.path.exists(path) and os.path.getsize(path) and not os.path.exists(partial),
            f"{name} is downloaded",
        )
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        return content

    def sent(self, name: str, content: bytes) -> str:
        """:return: the path of a file outside of the workspace, to upload."""
        return os.fsdecode(self.pair.write(f"sent/{name}", content))

    def large(self, name: str) -> str:
        """:return: the path of a file that is too large to upload."""
        path = self.sent(name, b"")
        os.truncate(path, MOST + 1)
        return path

    def uploads(self) -> dict[str, bytes]:
        """
        :return: the files that were uploaded, by their names without the prefix; they are removed.
        """
        found = {}
        for name in self.uploading(""):
            path = self.pair.at("workspace", ".molecule", "chat-uploads", name)
            if not name.startswith(PARTIAL):
                with open(path, "rb") as file:
                    found[name.partition("-")[2]] = file.read()
                os.unlink(path)
        return found

    def uploading(self, prefix: str = PARTIAL) -> list[str]:
        """:return: the names of unfinished files and of records, or others that begin so."""
        directory = self.pair.at("workspace", ".molecule", "chat-uploads")
        names = os.listdir(directory) if os.path.isdir(directory) else []
        return [name for name in names if name.startswith(prefix)]

    def written(self, name: str, content: bytes = b"content") -> str:
        """:return: the path of a file below ``/workspace/out``, which has a strong entity tag."""
        path = os.fsdecode(self.pair.write(f"workspace/out/{name}", content))
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def keep(self, name: str) -> None:
        """Write a screenshot to the directory ``$CHATFILES_SCREENSHOTS``, if it is set."""
        if (directory := os.environ.get("CHATFILES_SCREENSHOTS")) is not None:
            with open(os.path.join(ROOT, directory, f"{name}.png"), "wb") as file:
                file.write(self.browser.screenshot())

    def fetch(self, url: str, **fields: str) -> Any:
        """:return: the response to a request without a credential."""
        return fetch(self.pair.platform.url, url.removeprefix(self.pair.platform.url), fields)
