"""
reference/uploads, "All or nothing": for any form, and however it arrives, what is stored is what
was sent, or the request is refused and nothing is stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import build, scratch
from tests.support.memory_client import CHUNKED, Caller, Received, chunked, get
from tests.workspace.uploads.forms import BOUNDARIES, contents, pieces

LIMITS = IngestLimits(10_000, 100_000)
#: Stands between a form and the same form without some of its bytes.
INSERTED = [b"", b"\r", b"\n", b"\r\n", b"-", b"--", b" ", b":", b'"', b"\0", b"x"]
#: Headers of a part that say nothing (RFC 7578, 4.8).
OTHER_HEADERS = [
    b"X: 1\r\n 2\r\n",
    b"X:\r\n \r\n",
    b"Content-Length: 1\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"X: 1\r\n" * 70,
]


class _AtOnce:
    """In place of threads: each call returns before the next one begins."""

    def run(self, call: Callable[..., Any], *arguments: Any, **more: object) -> Deferred[Any]:
        return execute(call, *arguments)


@dataclass(frozen=True)
class Sent:
    """
    A form, and how it is sent.

    :param files: the contents of its files.
    """

    boundary: str
    body: bytes
    files: list[bytes]
    ends: Sequence[int]
    is_chunked: bool

    def request(self, body: bytes) -> list[bytes]:
        """:return: the segments of a request with this body."""
        parts = pieces(body, self.ends)
        framing = CHUNKED if self.is_chunked else b"Content-Length: %d" % len(body)
        form = b'Content-Type: multipart/form-data; boundary="%b"' % self.boundary.encode()
        secret = b"Authorization: Bearer abc"
        path = b"/internal/chat/uploads/ingest"
        head = get(path, secret, form, framing, method=b"POST")
        return [head, *(pieces(chunked(*parts), self.ends) if self.is_chunked else parts)]


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    """Generate forms of files, and of fields, which are not stored."""
    boundary, files = draw(BOUNDARIES), list[bytes]()
    raw = boundary.encode()
    body = draw(st.sampled_from([b"", b"\r\n", b"preamble\r\n"]))
    for content in draw(st.lists(contents(boundary), min_size=1, max_size=4)):
        filename = draw(st.sampled_from([b'; filename="x"'] * 3 + [b'; filename=""', b""]))
        other = b"".join(draw(st.lists(st.sampled_from(OTHER_HEADERS), max_size=3)))
        padding = draw(st.sampled_from([b"", b" ", b"\t "]))
        head = b'Content-Disposition: form-data; name="files"%b\r\n%b' % (filename, other)
        body += b"--%b%b\r\n%b\r\n%b\r\n" % (raw, padding, head, content)
        if filename:
            files.append(content)
    body += b"--%b--" % raw + draw(st.sampled_from([b"", b"\r\n", b" \r\nepilogue"]))
    ends = draw(st.lists(st.integers(0, 5000), max_size=20))
    return Sent(boundary, body, files, ends, draw(st.booleans()))


class PropertyTests(SynchronousTestCase):
    """Forms that arrive at the workspace."""

    def setUp(self) -> None:
        top = scratch(self)
        build(top, {b"ws/a": b"", b"configs/secret": b"abc"})
        os.chmod(top + b"/configs/secret", 0o600)
        self.path = top + b"/ws/.molecule/chat-uploads"
        store = FileStore({b"/workspace": top + b"/ws"}, DenyRules(), [])
        self.addCleanup(store.close)
        uploads = UploadDirectory(lambda: store.open_root(b"/workspace"))
        secret, threads = InboundSecrets(top + b"/configs/secret"), _AtOnce()
        self.root = workspace_tree(
            WorkspaceContext(store, secret, threads, Clock(), 60.0),  # type: ignore[arg-type]
            IngestContext(uploads, LIMITS, secret, threads),  # type: ignore[arg-type]
        )

    def stored(self) -> dict[str, bytes]:
        """:return: the names and contents of all files that are stored; they are removed."""
        found = {}
        for name in os.listdir(self.path) if os.path.isdir(self.path) else ():
            with open(os.path.join(self.path, name), "rb") as file:
                found[os.fsdecode(name)] = file.read()
            os.unlink(os.path.join(self.path, name))
        return found

    def answer(self, segments: Sequence[bytes]) -> tuple[Received, list[bytes]]:
        """:return: the response, and the contents of the files that it lists; no other is there."""
        response = Caller(self.root).send(*segments).answers()[-1]
        there = self.stored()
        listed = response.json["files"] if response.status == 200 else []
        names = [file["uri"].rpartition("/")[2] for file in listed]
        self.assertEqual(sorted(there), sorted(names))
        found = [there[name] for name in names]
        self.assertEqual([file["size"] for file in listed], [len(content) for content in found])
        return response, found

    @given(sent())
    def test_what_was_sent(self, form: Sent) -> None:
        """A form is stored as it was sent; one without files is refused."""
        response, found = self.answer(form.request(form.body))
        self.assertEqual(found, form.files)
        self.assertEqual(response.status, 200 if form.files else 400, response.body)

    @given(sent(), st.integers(0, 5000))
    def test_client_that_leaves(self, form: Sent, where: int) -> None:
        """Of a request that breaks off before its end, nothing is stored."""
        wire = b"".join(form.request(form.body))
        caller = Caller(self.root).send(*pieces(wire[: where % len(wire)], form.ends))
        caller.leave()
        self.assertEqual(self.stored(), {})
        self.assertNotIn(200, [answer.status for answer in caller.answers()])

    @given(sent(), st.integers(0, 5000))
    def test_form_that_breaks_off(self, form: Sent, where: int) -> None:
        """A complete request with a form that is not complete is refused."""
        last = b"--" + form.boundary.encode() + b"--"
        body = form.body[: where % (form.body.rindex(last) + 1)]
        assume(not body.rstrip(b" \t").endswith(last))  # content that has become a delimiter line
        response, found = self.answer(form.request(body))
        self.assertEqual((response.status, found), (400, []), response.body)

    @given(sent(), st.integers(0, 5000), st.integers(0, 9), st.sampled_from(INSERTED))
    def test_malformed(self, form: Sent, where: int, without: int, inserted: bytes) -> None:
        """Whatever a form has become, the response lists the files that are there, or none are."""
        where %= len(form.body)
        body = form.body[:where] + inserted + form.body[where + without :]
        response, _ = self.answer(form.request(body))
        self.assertIn(response.status, (200, 400))
