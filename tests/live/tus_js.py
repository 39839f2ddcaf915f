"""
tus-js-client, with which pages and Node upload (https://github.com/tus/tus-js-client, MIT).

It is fetched with ``npm`` once, into the user's cache, and only for the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress

from twisted.trial.unittest import SkipTest

from tests.support.patience import PATIENCE

__all__ = ["tus_js"]

VERSION = "4.3.1"


def tus_js() -> str:
    """
    :return: the directory of the package, beside those that it needs.
    :raise SkipTest: it is not in the cache, and cannot be fetched.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = os.path.join(cache, "chatfiles", f"tus-js-client-{VERSION}")
    if not os.path.isdir(directory):
        _fetch(directory)
    return os.path.join(directory, "node_modules", "tus-js-client")


def _fetch(directory: str) -> None:
    if shutil.which("npm") is None:
        raise SkipTest("tus-js-client cannot be fetched: npm is not installed")
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    temporary = tempfile.mkdtemp(dir=os.path.dirname(directory))
    try:
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        words.append(f"tus-js-client@{VERSION}")
        try:
            subprocess.run(words, cwd=temporary, capture_output=True, timeout=PATIENCE, check=True)
        except subprocess.SubprocessError as error:
            raise SkipTest(f"tus-js-client cannot be fetched: {error}") from error
        with suppress(OSError):  # another process was faster
            os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
