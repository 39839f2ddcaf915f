"""
axe-core, which finds faults of accessibility (https://github.com/dequelabs/axe-core, MPL-2.0).

It is fetched with ``npm`` once, into the user's cache, and only for the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile

from twisted.trial.unittest import SkipTest

from tests.live.page_browser import PageBrowser
from tests.support.patience import PATIENCE

__all__ = ["axe_source", "faults"]

VERSION = "4.14.1"
#: The rules of WCAG 2.1 AA.
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_RUN = """
axe.run(document, {runOnly: %s, resultTypes: ["violations"]}).then((found) =>
  found.violations.map((each) => `${each.impact} ${each.id}: ` +
    each.nodes.map((node) => node.html + " " + node.failureSummary).join("; ")))
"""


def axe_source() -> str:
    """
    :return: the script.
    :raise SkipTest: it is not in the cache, and cannot be fetched.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(cache, "chatfiles", f"axe-core-{VERSION}.js")
    if not os.path.exists(path):
        _fetch(path)
    with open(path, encoding="utf-8") as file:
        return file.read()


def _fetch(path: str) -> None:
    if shutil.which("npm") is None:
        raise SkipTest("axe-core cannot be fetched: npm is not installed")
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["npm", "pack", "--silent", f"axe-core@{VERSION}"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise SkipTest(f"axe-core cannot be fetched: {done.stderr.strip()[-200:]}")
        with tarfile.open(os.path.join(directory, done.stdout.split()[-1])) as package:
            member = package.extractfile("package/axe.min.js")
            assert member is not None
            content = member.read()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(content)
    os.rename(temporary, path)


def faults(browser: PageBrowser, source: str) -> list[str]:
    """:return: the faults of what the browser shows; empty if there are none."""
    if not browser.run("return 'axe' in window"):  # it stays until another page is opened
        browser.devtools("Runtime.evaluate", expression=source)
    result = browser.devtools(
        "Runtime.evaluate", expression=_RUN % _TAGS, awaitPromise=True, returnByValue=True
    )
    if "exceptionDetails" in result:
        raise AssertionError(result["exceptionDetails"])
    found: list[str] = result["result"]["value"]
    return found
