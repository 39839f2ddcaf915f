"""
Requests for signed links.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.model import Scope
from chatfiles.rules.link_request import (
    LinkLimits,
    LinkRequest,
    link_operation,
    link_request,
    scope_of,
)
from chatfiles.rules.signed_links import LinkOperation

FILE, ARCHIVE, UPLOAD = LinkOperation
LIMITS = LinkLimits(1000, 64)
#: What is no number, or none above zero.
WRONG_NUMBERS: tuple[object, ...] = (0, -1, "1", 1.0, True, [])
#: What belongs to which operation, with a valid value.
OWNED: tuple[tuple[str, object, LinkOperation], ...] = (
    ("disposition", "inline", FILE),
    ("disposition", "attachment", FILE),
    ("format", "zip", ARCHIVE),
    ("max_bytes", 1, UPLOAD),
    ("max_files", 1, UPLOAD),
    ("version", '"x"', FILE),
)


def read(**body: Any) -> LinkRequest:
    return link_request(body, link_operation(body), LIMITS)


def body_of(operation: LinkOperation, **more: Any) -> dict[str, Any]:
    path = {} if operation is UPLOAD else {"path": "/workspace/a"}
    return {"operation": operation.value} | path | more


class LinkRequestTests(SynchronousTestCase):
    """Which bodies are accepted, and what they mean."""

    def code_of(self, **body: Any) -> str:
        try:
            read(**body)
        except BadRequest as error:
            self.text = error.text
            return error.code
        return ""

    def test_defaults(self) -> None:
        """A link is for a file and for an hour, if the request does not say."""
        wanted = LinkRequest(FILE, b"/workspace/a", b"", 3600)
        self.assertEqual(read(path="/workspace/a"), wanted)
        null = dict.fromkeys(("operation", "ref", "disposition", "version", "max_bytes"))
        self.assertEqual(read(path="/workspace/a", **null, more=1), wanted)

    def test_operations(self) -> None:
        """There are three operations; each needs one scope."""
        for word, scope in (("file", Scope.READ), ("archive", Scope.READ), ("upload", Scope.WRITE)):
            operation = link_operation({"operation": word})
            self.assertEqual((operation.value, scope_of(operation)), (word, scope))
        values: tuple[object, ...] = ("", "FILE", "download", 1, True, [], {})
        for wrong in values:
            with self.assertRaises(BadRequest) as caught:
                link_operation({"operation": wrong})
            error = caught.exception
            self.assertEqual((error.code, error.text), ("invalid_operation", "invalid operation"))

    def test_paths(self) -> None:
        """A path is text or a ref, and has the form of a virtual path."""
        valid: tuple[tuple[dict[str, Any], bytes], ...] = (
            ({"path": "/home/é %41+"}, "/home/é %41+".encode()),
            ({"ref": "/home/%FF%20+"}, b"/home/\xff  "),
            ({"path": "/workspace"}, b"/workspace"),
        )
        for body, path in valid:
            self.assertEqual(read(**body).path, path)
        bodies: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "invalid_field"),
            ({"path": "/home/a", "ref": "/home/a"}, "invalid_field"),
            ({"path": 1}, "invalid_field"),
            ({"path": ""}, "path_required"),
            ({"path": "a"}, "path_not_absolute"),
            ({"path": "/etc/a"}, "path_outside_roots"),
            ({"path": "/home/../a"}, "invalid_path"),
            ({"ref": "/home/%00"}, "invalid_path"),
            ({"path": "/home/\ud800"}, "invalid_path"),
        )
        for body, code in bodies:
            for operation in ("file", "archive"):
                self.assertEqual(self.code_of(operation=operation, **body), code, body)

    def test_uploads_have_no_path(self) -> None:
        """Files go where uploads go."""
        self.assertEqual(read(operation="upload"), LinkRequest(UPLOAD, b"", b"", 3600))
        for name in ("path", "ref"):
            for value in ("/workspace/a", "", 1):
                self.assertEqual(self.code_of(operation="upload", **{name: value}), "invalid_field")

    def test_lifetimes(self) -> None:
        """A link always expires, after a week at most."""
        for given in (1, 604800):
            self.assertEqual(read(path="/home/a", expires_in=given).expires_in, given)
        wrong: object
        for wrong in (0, -1, 604801, None, "never", "3600", 1.0, 1.5, True, [], {}, 10**20):
            code = self.code_of(path="/home/a", expires_in=wrong)
            told = (code, self.text)
            expected = ("invalid_expires_in", "expires_in must be 1 to 604800")
            self.assertEqual(told, expected, wrong)

    def test_options(self) -> None:
        """Each member becomes an option; what is the default becomes none."""
        for body, options in (
            (body_of(FILE, disposition="inline"), b"d=inline"),
            (body_of(FILE, disposition="attachment"), b""),
            (body_of(FILE, version='"a=1,b"', disposition="inline"), b"d=inline;v=a=1,b"),
            (body_of(FILE, version='""'), b"v="),
            (body_of(ARCHIVE, format="tar.gz"), b"f=tar.gz"),
            (body_of(UPLOAD, max_files=3, max_bytes=1000), b"mb=1000;mf=3"),
        ):
            self.assertEqual(read(**body).options, options, body)

    def test_wrong_options(self) -> None:
        """A value that has no meaning is refused."""
        for body, code in (
            (body_of(FILE, disposition="INLINE"), "invalid_disposition"),
            (body_of(FILE, disposition=""), "invalid_disposition"),
            (body_of(FILE, disposition=1), "invalid_disposition"),
            (body_of(ARCHIVE, format="rar"), "invalid_format"),
            (body_of(ARCHIVE, format=1), "invalid_format"),
            *(
                (body_of(UPLOAD, **{name: value}), "invalid_field")
                for name, most in (("max_bytes", 1000), ("max_files", 64))
                for value in (*WRONG_NUMBERS, most + 1)
            ),
            *(
                (body_of(FILE, version=value), "invalid_version")
                for value in ("x", "*", 'W/"x"', '"x', '"a;b"', '"a"b"', '"a b"', '"é"', '"\x7f"')
            ),
            (body_of(FILE, version='"x", "y"'), "invalid_version"),
            (body_of(FILE, version=f'"{"x" * 255}"'), "invalid_version"),
            (body_of(FILE, version=1), "invalid_version"),
        ):
            self.assertEqual(self.code_of(**body), code, body)

    def test_members_of_other_operations(self) -> None:
        """A member that has no meaning for the operation is refused."""
        for name, value, owner in OWNED:
            for operation in LinkOperation:
                code = self.code_of(**body_of(operation, **{name: value}))
                self.assertEqual(code, "" if operation is owner else "invalid_field", name)

    def test_order(self) -> None:
        """The first wrong member of the reference's table is reported."""
        wrong: list[tuple[str, object, str]] = [
            ("path", "a", "path_not_absolute"),
            ("expires_in", 0, "invalid_expires_in"),
            ("disposition", "x", "invalid_disposition"),
            ("format", "zip", "invalid_field"),
            ("version", "x", "invalid_version"),
        ]
        for first in range(len(wrong)):
            body = {name: value for name, value, _ in wrong[first:]}
            self.assertEqual(self.code_of(**({"path": "/home/a"} | body)), wrong[first][2])
