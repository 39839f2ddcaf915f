"""
The number of files in a form that passes.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest, TooLarge
from chatfiles.rules.form_file_counter import FileCounter


def form(files: int, fields: int) -> bytes:
    """:return: a form with so many files, and fields that are no files."""
    file = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx\r\n'
    field = b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\n--C\r\n'
    return file * files + field * fields + b"--B--\r\n"


class FileCounterTests(SynchronousTestCase):
    """`FileCounter`."""

    @given(st.integers(0, 4), st.integers(0, 3), st.integers(1, 4), st.integers(1, 200))
    def test_count(self, files: int, fields: int, most: int, size: int) -> None:
        """Only files are counted, however the form is divided."""
        counter, body = FileCounter("B", most), form(files, fields)
        refused = ""
        try:
            for at in range(0, len(body), size):
                counter.feed(body[at : at + size])
        except TooLarge as error:
            refused = error.text
        self.assertEqual(refused, f"too many files (limit {most})" if files > most else "")

    def test_malformed(self) -> None:
        """A form that cannot be counted is refused."""
        with self.assertRaises(BadRequest):
            FileCounter("B", 9).feed(b"--B\r\nno header\r\n\r\n")
