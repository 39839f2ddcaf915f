"""
Requests for archives, by a query or by a body.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.rules.archive_request import ArchiveFormat, archive_body, archive_query
from chatfiles.rules.query import encode_query_value

A = {"path": "/workspace/a"}


def error_of(call: Any, value: Any) -> BadRequest:
    """:return: the error that *call* raises."""
    try:
        found = call(value)
    except BadRequest as error:
        return error
    raise AssertionError(f"{value!r} is {found}")


class QueryTests(SynchronousTestCase):
    """`archive_query`."""

    def test_valid(self) -> None:
        """A path and a format, which is zip by default."""
        for query, form in (
            (b"path=/workspace/a", ArchiveFormat.ZIP),
            (b"path=/workspace/a&format=zip&x=1", ArchiveFormat.ZIP),
            (b"format=tar&path=/workspace/a", ArchiveFormat.TAR),
            (b"path=/workspace/a&format=tar%2Egz", ArchiveFormat.TAR_GZ),
        ):
            asked = archive_query(query)
            self.assertEqual([path.raw for path in asked.paths], [b"/workspace/a"])
            self.assertEqual((asked.format, asked.name), (form, None))

    def test_invalid(self) -> None:
        """The path is checked before the format."""
        for query, text, code in (
            (b"format=x", "path query required", "path_required"),
            (b"path=/workspace&path=/home", "path query must be given once", "path_repeated"),
            (b"path=/workspace/../x&format=x", "invalid path", "invalid_path"),
            (b"path=/workspace&format=", "invalid format", "invalid_format"),
            (b"path=/workspace&format=ZIP", "invalid format", "invalid_format"),
            (b"path=/workspace&format=tar.xz", "invalid format", "invalid_format"),
            (b"path=/workspace&format=%FF", "invalid format", "invalid_format"),
            (
                b"path=/workspace&format=zip&format=zip",
                "format must be given once",
                "parameter_repeated",
            ),
        ):
            error = error_of(archive_query, query)
            self.assertEqual((error.text, error.code), (text, code), query)


class BodyTests(SynchronousTestCase):
    """`archive_body`."""

    def test_valid(self) -> None:
        """Paths as text or as ref, in the order that they have, duplicates too."""
        body = {
            "paths": [A, {"ref": "/home/%FF+%2B"}, {"path": "/workspace/%FF+é", "ref": None}, A],
            "format": "tar.gz",
            "name": "a b",
            "more": 1,
        }
        asked = archive_body(body)
        self.assertEqual(
            [path.raw for path in asked.paths],
            [b"/workspace/a", b"/home/\xff +", "/workspace/%FF+é".encode(), b"/workspace/a"],
        )
        self.assertEqual((asked.format, asked.name), (ArchiveFormat.TAR_GZ, "a_b"))

    def test_defaults(self) -> None:
        """A member that is null counts as absent; an empty name is none."""
        for body in (
            {"paths": [A]},
            {"paths": [A], "format": None, "name": None},
            {"paths": [A], "name": ""},
        ):
            asked = archive_body(body)
            self.assertEqual((asked.format, asked.name), (ArchiveFormat.ZIP, None))

    def test_paths(self) -> None:
        """One to 1000 of them."""
        self.assertEqual(len(archive_body({"paths": [A] * 1000}).paths), 1000)
        for paths in (None, [], [A] * 1001, A, "/workspace", 1):
            error = error_of(archive_body, {"paths": paths})
            told = "paths must be a list of 1 to 1000 paths"
            self.assertEqual((error.text, error.code), (told, "invalid_field"))

    def test_path_or_ref(self) -> None:
        """Each path is named in exactly one way."""
        for given_path in (
            {},
            {"path": "/workspace", "ref": "/workspace"},
            {"path": 1},
            {"ref": ["/workspace"]},
            {"path": None, "ref": None},
            "/workspace",
            None,
        ):
            error = error_of(archive_body, {"paths": [A, given_path]})
            told = ("give path or ref", "invalid_field")
            self.assertEqual((error.text, error.code), told, given_path)

    def test_first_bad_path(self) -> None:
        """The detail names the first path whose form is invalid, as the client named it."""
        for bad, text in (
            ({"path": ""}, "path query required"),
            ({"path": "workspace"}, "path must be absolute"),
            ({"path": "/etc/x"}, "path must be under /configs, /workspace, /home, or /plugins"),
            ({"path": "/workspace/é/../x"}, "invalid path"),
            ({"path": "/workspace/\0"}, "invalid path"),
            ({"ref": "/workspace/a%2F..%2Fb"}, "invalid path"),
            ({"ref": "/workspace/%00"}, "invalid path"),
        ):
            error = error_of(archive_body, {"paths": [A, bad, {"path": "/etc/y"}], "format": "x"})
            (named,) = bad.values()
            self.assertEqual((error.text, error.detail), (text, named))

    def test_surrogates(self) -> None:
        """JSON can name half of a character.  It is no path, and the detail is text."""
        for name in ("path", "ref"):
            body = {"paths": [{name: json.loads('"/workspace/\\ud800"')}]}
            error = error_of(archive_body, body)
            self.assertEqual((error.text, error.detail), ("invalid path", "/workspace/\\ud800"))

    def test_format_and_name(self) -> None:
        """They are checked after the paths."""
        for more, code in (
            ({"format": "x"}, "invalid_format"),
            ({"format": 1}, "invalid_format"),
            ({"format": ["zip"]}, "invalid_format"),
            ({"format": "zip", "name": 1}, "invalid_field"),
            ({"name": "x" * 257}, "invalid_field"),
        ):
            error = error_of(archive_body, {"paths": [A], **more})
            self.assertEqual(error.code, code, more)
        error = error_of(archive_body, {"paths": [A], "format": "x", "name": 1})
        self.assertEqual(error.code, "invalid_format")

    @given(st.binary(max_size=20))
    def test_refs(self, name: bytes) -> None:
        """A ref stands for the same bytes as in a query."""
        body = {"paths": [{"ref": "/workspace/" + encode_query_value(name)}]}
        try:
            asked = archive_body(body)
        except BadRequest:
            segments = name.split(b"/")
            self.assertTrue(b"\0" in name or {b"", b".", b".."} & set(segments))
        else:
            self.assertEqual(asked.paths[0].raw, b"/workspace/" + name)
