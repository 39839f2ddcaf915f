"""
The strategies draw what they promise: valid and unusual values.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from hypothesis import find, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest, InvalidPath
from chatfiles.rules.multipart_reader import FileBegins, FileContent, MultipartReader
from chatfiles.rules.virtual_paths import check_form
from chatfiles.testing import strategies

ENOUGH = settings(database=None, max_examples=5000)

_WITHOUT = """
import sys
sys.modules["hypothesis"] = None
import chatfiles.testing
try:
    import chatfiles.testing.strategies
except ModuleNotFoundError as error:
    print(error)
"""


def holds(part: bytes) -> Callable[[bytes], bool]:
    return lambda path: part in path


def is_valid(path: bytes) -> bool:
    try:
        check_form([path])
    except InvalidPath:
        return False
    return True


class StrategyTests(SynchronousTestCase):
    """Each strategy."""

    def test_virtual_paths(self) -> None:
        """Both sides of each rule are drawn: valid, with dot segments, with NUL, without a root."""
        paths = strategies.virtual_paths()
        self.assertTrue(find(paths, is_valid, settings=ENOUGH))
        for part in (b"/..", b"\0", b"//", b"\xff"):
            path = find(paths, holds(part), settings=ENOUGH)
            self.assertIn(part, path)
        find(paths, lambda path: not path.startswith(b"/"), settings=ENOUGH)
        own = strategies.virtual_paths([b"/of-my-own"])
        find(own, lambda path: path.startswith(b"/of-my-own/"), settings=ENOUGH)

    def test_range_headers(self) -> None:
        """One range, a suffix, several ranges and another unit are drawn."""
        for beginning, commas in (
            (b"bytes=0-", 0),
            (b"bytes=-", 0),
            (b"bytes=", 1),
            (b"octets", 0),
        ):

            def wanted(value: bytes, beginning: bytes = beginning, commas: int = commas) -> bool:
                return value.startswith(beginning) and value.count(b",") >= commas

            find(strategies.range_headers(), wanted, settings=ENOUGH)

    @given(strategies.file_names(max_size=12))
    def test_file_names(self, name: bytes) -> None:
        """A file system accepts each of them."""
        self.assertTrue(0 < len(name) <= 12)
        self.assertFalse({0, 0x2F} & set(name))

    @given(strategies.multipart_forms("B"))
    def test_multipart_forms(self, drawn: tuple[list[strategies.FormFile], bytes]) -> None:
        """The workspace's own reader finds the files of the form in its body."""
        files, body = drawn
        reader = MultipartReader("B")
        found: list[bytes] = []
        for event in reader.feed(body):
            if isinstance(event, FileBegins):
                found.append(b"")
            elif isinstance(event, FileContent):
                found[-1] += event.data
        reader.finish()
        self.assertEqual(found, [file.content for file in files])

    @given(st.data())
    def test_odd_contents(self, data: st.DataObject) -> None:
        """
        With given contents a form may be invalid; the reader accepts it or raises `BadRequest`.
        """
        files = data.draw(st.lists(strategies.form_files(contents=st.just(b"\r\n--B--\r\n"))))
        reader = MultipartReader("B")
        try:
            list(reader.feed(strategies.multipart_form(files, "B")))
            reader.finish()
        except BadRequest:
            pass

    def test_without_hypothesis(self) -> None:
        """The package works without hypothesis; the module says what to install."""
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn("needs hypothesis: pip install hypothesis", done.stdout, done.stderr)
