"""
A headless Chromium, driven over WebDriver's plain HTTP (https://www.w3.org/TR/webdriver2/).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Self

from tests.support.patience import PATIENCE

__all__ = ["Browser", "missing_program"]

#: The timeout of a command, for a busy machine.
LONG = 3 * PATIENCE
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # not available to root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    # Otherwise nothing is sent to a server of this machine, whatever the page allows.
    "--disable-features=LocalNetworkAccessChecks",
)


def missing_program() -> str | None:
    """:return: why there is no browser here, if there is none."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


#: How often chromedriver is started, if it ends by itself.
MOST_STARTS = 5


class Browser:
    """
    A browser with its own profile; a context manager that ends it.

    :param size: of its window, in pixels.
    """

    def __init__(self, size: tuple[int, int] = (400, 300)) -> None:
        self._size = size
        self.directory = tempfile.mkdtemp(prefix="chatfiles-browser-")
        self.downloads = os.path.join(self.directory, "downloads")
        os.mkdir(self.downloads)
        self._url = ""
        self._starts = 0
        self._driver = self._start()
        try:
            while not (port := self._port()):
                self._driver = self._start()
            self._url = f"http://127.0.0.1:{port}"
            self._url += "/session/" + self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and remove its files; idempotent."""
        if self._driver.poll() is None:
            if "/session/" in self._url:
                with contextlib.suppress(OSError, AssertionError):
                    self._ask("DELETE", "")
            os.killpg(self._driver.pid, signal.SIGKILL)
            self._driver.wait()
        assert self._driver.stdout is not None
        self._driver.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- commands

    def go(self, url: str) -> None:
        """Open a page."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """:return: what the body of a function returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def choose(self, selector: str, paths: list[str]) -> None:
        """Choose files in an input element of the page."""
        using = {"using": "css selector", "value": selector}
        (element,) = self._ask("POST", "/element", using).values()
        self._ask("POST", f"/element/{element}/value", {"text": "\n".join(paths)})

    @property
    def pid(self) -> int:
        """The id of the process whose children are those of the browser."""
        return self._driver.pid

    def devtools(self, command: str, **parameters: Any) -> Any:
        """:return: the result of a command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def console(self) -> list[str]:
        """:return: what the browser has logged about the page since the last call."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def screenshot(self) -> bytes:
        """:return: the visible page, as PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def until(self, holds: Callable[[], object], what: str) -> Any:
        """
        :return: the first true result of *holds*.
        :raise AssertionError: there was none in time.
        """
        deadline = time.monotonic() + PATIENCE
        while not (answer := holds()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE} s: {what}")
            time.sleep(0.05)
        return answer

    # -- the protocol

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "HOME": self.directory, "TMPDIR": self.directory},
        )

    def _port(self) -> str:
        """
        :return: the port on which chromedriver listens; empty if it has ended because another
            process took the port that it had chosen.
        """
        assert self._driver.stdout is not None
        said = []
        for line in self._driver.stdout:
            if "started successfully on port" in line:
                return line.split()[-1].rstrip(".")
            said.append(line)
        self._starts += 1
        if self._starts == MOST_STARTS:
            raise AssertionError(f"chromedriver has ended: {''.join(said)}")
        self._driver.stdout.close()
        self._driver.wait()
        return ""

    def _begin(self) -> str:
        options = {
            "binary": shutil.which("chromium"),
            "args": [
                *_ARGUMENTS,
                f"--user-data-dir={self.directory}/profile",
                "--window-size={},{}".format(*self._size),
            ],
            "prefs": {
                "download.default_directory": self.downloads,
                # Otherwise it asks the person before the second of several downloads.
                "profile.default_content_setting_values.automatic_downloads": 1,
            },
        }
        logged = {"goog:loggingPrefs": {"browser": "ALL"}}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, **logged}}}
        session: str = self._ask("POST", "/session", wanted)["sessionId"]
        return session

    def _ask(self, method: str, command: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + command, data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=LONG) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{command}: {error.read().decode()[:1000]}") from error
