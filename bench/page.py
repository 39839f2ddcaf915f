"""
How soon the web page shows a folder of 1000 entries: ``python -m bench.page``.

Chromium measures it in a platform and a workspace of its own: from the change of the address to the
frame after the first rows are there, with the request that they come from.
"""

from __future__ import annotations

import os
import statistics

from tests.live.page_case import PagePair

__all__ = ["ENTRIES", "RUNS", "main"]

#: Files of the folder.
ENTRIES = 1000
#: How often it is opened.
RUNS = 9

_OPEN = """
    window.measured = null;
    const begun = performance.now();
    const look = () => requestAnimationFrame(() => {
      const rows = document.querySelectorAll("tbody .file").length;
      requestAnimationFrame(() => rows ? (measured = performance.now() - begun) : look());
    });
    look();
    location.hash = %r;
"""


def main() -> None:
    """Print the median, the least and the greatest time."""
    pair = PagePair()
    try:
        directory = pair.at("workspace", "many")
        os.mkdir(directory)
        for number in range(ENTRIES):
            os.close(os.open(f"{directory}/file-{number:04}", os.O_CREAT))
        times = [_open(pair) for _ in range(RUNS)]
    finally:
        pair.discard()
    middle = statistics.median(times)
    print(f"{ENTRIES} entries: {middle:.0f} ms ({min(times):.0f} to {max(times):.0f})")


def _open(pair: PagePair) -> float:
    """:return: milliseconds."""
    browser = pair.browser
    browser.go(f"{pair.platform.url}/ui/style.css")
    browser.run("sessionStorage.clear()")
    browser.go(f"{pair.platform.url}/ui/#token={pair.token}")
    # Not by its role: a browser is slower once it has to keep an accessibility tree.
    browser.until(lambda: browser.run("return document.querySelector('a.main')"), "the roots")
    browser.run(_OPEN % f"#/{pair.id}/workspace/many")
    return float(browser.until(lambda: browser.run("return measured"), "it is shown"))


if __name__ == "__main__":
    main()
