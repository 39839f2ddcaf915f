"""
``chatfiles put`` with large files: they continue where they were interrupted (reference/cli,
"Large files").
"""

from __future__ import annotations

import json
import os
import signal
import stat
from typing import Any

from chatfiles.cli.transfers import upload_records
from tests.cli.cli_stub import TOKEN, WORKSPACE
from tests.cli.commands.test_put import stdin
from tests.cli.terminal import test_terminal
from tests.cli.tus_server import CHAT, UPLOADS, Handler, Kept, TusCase, cut_after, respond

STORED = f"{CHAT}/0-f\n"


class LargeCase(TusCase):
    """A large file."""

    def setUp(self) -> None:
        super().setUp()
        self.content = os.urandom(self.LARGE)
        self.fill(self.content)

    def fill(self, content: bytes) -> None:
        """Write the file."""
        with open(self.path("big"), "wb") as file:
            file.write(content)

    def records(self) -> list[str]:
        """:return: the paths of the records."""
        directory = self.path(".state/chatfiles/uploads")
        names = os.listdir(directory) if os.path.exists(directory) else []
        return [os.path.join(directory, name) for name in names]

    @property
    def upload(self) -> Kept:
        """The only upload."""
        (upload,) = self.uploads.values()
        return upload


class OneRunTests(LargeCase):
    """One command."""

    def stored(self, *words: str, **more: Any) -> str:
        """Assert that the file is stored.  :return: what standard error says."""
        result = self.put("big", *words, **more)
        self.ended(result, 0)
        self.assertEqual(self.upload.content, self.content)
        self.assertEqual(self.records(), [])
        return result.stderr

    def test_requests(self) -> None:
        """A creation with the name and the digest, and one chunk; nothing on standard error."""
        self.assertEqual(self.stored(), "")
        self.assertEqual(self.methods, ["OPTIONS", "POST", "PATCH"])
        _, target, headers = self.requests[1]
        self.assertEqual(target, UPLOADS)
        self.assertIn("filename Ymln,sha256 ", headers["Upload-Metadata"])
        self.assertEqual(self.requests[2][2]["Content-Length"], str(self.LARGE))
        self.assertEqual(self.put("big").stdout, STORED)

    def test_interrupted(self) -> None:
        """After each interruption the rest is sent, as long as there is progress."""
        ask = None
        cuts = [each for count in (1, 10_000, 0, 50_000) for each in (cut_after(count), ask)]
        self.faults = [None, None, *cuts, cut_after(99_999)]
        said = self.stored("--retries", "1")
        self.assertEqual(said.count("trying again in "), 5)
        self.assertEqual(self.methods[2:], ["PATCH", "HEAD"] * 5 + ["PATCH"])

    def test_outages(self) -> None:
        """Any request is sent again after an outage or a lock."""
        for status in (502, 503, 504, 423):
            self.uploads.clear()
            fault = respond(status)
            self.faults = [None, fault, None, fault, fault, None, fault, None]
            self.stored()
        self.faults = [None, None, respond(423, "upload_locked", Retry_After=7)]
        self.uploads.clear()
        self.stored()
        self.assertEqual(self.slept[-1], 7)

    def test_workspace_down(self) -> None:
        """A response to HEAD has no body that says whose fault an outage is, but headers."""
        for fields, hint in (
            ({}, "is the platform itself running?"),
            ({"Tus_Resumable": "1.0.0"}, "is the workspace running?"),
        ):
            self.uploads.clear()
            self.requests.clear()
            fault = respond(502, **fields)
            self.faults = [None, None, cut_after(10), fault, fault, fault]
            result = self.put("big", "--retries", "1")
            self.assertEqual(result.exit_code, 6)
            self.assertIn(hint, result.stderr)

    def test_response_lost(self) -> None:
        """The file was stored, but the response was lost: nothing is sent again."""

        def lose(handler: Handler) -> bool:
            self.upload.content += handler.body()
            handler.reset()
            return True

        self.faults = [None, None, lose]
        self.assertIn("the upload was interrupted; trying again in 1 s\n", self.stored())
        self.assertEqual(self.methods[-1], "HEAD")

    def test_late_bytes(self) -> None:
        """What a proxy has taken arrives after the question for the offset."""

        def arrive(handler: Handler) -> bool:
            self.upload.content += self.content[10:2000]
            return False

        self.faults = [None, None, cut_after(10), None, arrive]
        self.stored()
        self.assertEqual(self.methods[2:], ["PATCH", "HEAD", "PATCH", "PATCH"])

    def test_gone(self) -> None:
        """An upload that is gone is begun again."""
        self.faults = [None, None, cut_after(10), lambda _: self.uploads.clear()]
        said = self.stored()
        self.assertIn(
            "the unfinished upload is gone, or is of other content; starting over\n", said
        )
        self.assertEqual(self.methods[3:], ["HEAD", "POST", "PATCH"])

    def test_gives_up(self) -> None:
        """Without progress, the command fails after some attempts, and says how to continue."""
        self.faults = [None, None, *[cut_after(5), None, cut_after(0)], *[respond(503)] * 9]
        result = self.put("big")
        self.ended(result, 6, "hint: ", "the same command with --continue sends the rest")
        self.assertEqual(self.slept, [1, 1, 2, 4])
        self.assertEqual(len(self.records()), 1)

    def test_forgets(self) -> None:
        """A workspace that forgets each upload is not tried for ever."""
        forget = lambda _: self.uploads.clear()  # noqa: E731
        self.faults = [None, *[None, forget] * 9]
        self.ended(self.put("big"), 6, "the workspace forgets the upload")

    def test_refused(self) -> None:
        """An error that will not pass is shown at once, with a hint."""
        for status, code, expected, hint in (
            (413, "upload_too_large", 5, "--max-resumable-bytes"),
            (429, "too_many_uploads", 6, "expire"),
            (507, "no_space", 6, "free some space"),
            (403, "insufficient_scope", 4, "token create --scope"),
            (307, "", 7, "redirect"),
        ):
            self.faults = [None, respond(status, code)]
            result = self.put("big", "--retries", "0")
            self.ended(result, expected, hint)
            self.assertNotIn("--continue", result.stderr)

    def test_later(self) -> None:
        """A server that asks to wait for long is not asked again: the user decides."""
        self.faults = [None, respond(429, "too_many_uploads", Retry_After=60)]
        self.ended(self.put("big"), 6, "try again in 60 seconds; unfinished uploads expire")
        self.assertEqual(self.slept, [])

    def test_disk_full(self) -> None:
        """The rest can be sent when there is space."""
        self.faults = [None, None, respond(507, "no_space")]
        self.ended(self.put("big"), 6, "free some space", "--continue sends the rest")
        self.stored("--continue")

    def test_lost(self) -> None:
        """An upload that can never be stored is removed."""
        for status, code in ((412, "precondition_failed"), (422, "digest_mismatch")):
            self.faults = [None, None, respond(status, code)]
            result = self.put("big")
            self.ended(result, 5, f"it says ({code})")
            self.assertNotIn("--continue", result.stderr)
            self.assertEqual((self.methods[-1], self.uploads), ("DELETE", {}))
            self.assertEqual(self.records(), [])

    def test_changed_meanwhile(self) -> None:
        """A file that is written to while it is sent ends the command; the upload is removed."""

        def write(_: Handler) -> None:
            self.fill(self.content[::-1])

        self.faults = [None, write]
        result = self.put("big")
        self.ended(result, 8, "big changed while it was being sent")
        # The thread of a request that was given up may begin after that of the next one.
        self.assertEqual((self.methods.count("DELETE"), self.records()), (1, []))

    def test_untrusted(self) -> None:
        """Responses that break the protocol end the command."""
        for fault in (respond(201), respond(200)):
            self.faults = [None, fault]
            self.ended(self.put("big"), 7, "the response cannot be trusted")
        for fault in (
            respond(204),
            respond(204, Upload_Offset=10**6),
            respond(204, Upload_Offset=300_000),
        ):
            self.faults = [None, None, fault]
            self.ended(self.put("big"), 7, "the response cannot be trusted")

    def test_stored_wrongly(self) -> None:
        """A digest that comes back is compared."""
        uri = f"workspace:{CHAT}/x"

        def wrong(handler: Handler) -> bool:
            handler.body()
            handler.say(204, Upload_Offset=self.LARGE, Chatfiles_Uri=uri, Repr_Digest=digest.pop())
            return True

        digest = ["", "sha-256=:" + "A" * 43 + "=:"]
        self.faults = [None, None, wrong]
        self.ended(self.put("big"), 7, "was not stored as it was sent", f"do not use {CHAT}/x")
        self.faults = [None, None, wrong]
        self.ended(self.put("big"), 0, "no SHA-256 came back")

    def test_another_command(self) -> None:
        """The record of a later command for the same file stays when this one ends."""

        def replace(_: Handler) -> None:
            (record,) = self.records()
            with open(record, "w") as file:
                json.dump({"url": "x", "size": 1, "mtime": 1, "inode": 1}, file)

        self.faults = [None, None, replace]
        self.ended(self.put("big"), 0)
        self.assertEqual(len(self.records()), 1)

    def test_standard_input(self) -> None:
        """A file as standard input continues within one run only: no record can find it."""
        with open(self.path("big"), "rb") as file, stdin(file.fileno()):
            self.faults = [None, None, cut_after(10)]
            self.ended(self.put("-", "--name", "big"), 0)
            self.assertEqual(self.upload.content, self.content)
            file.seek(0)
            self.faults = [None, None, cut_after(10)]
            result = self.put("-", "--name", "big", "--retries", "0")
        self.ended(result, 7)
        self.assertNotIn("--continue", result.stderr)
        self.assertEqual(self.records(), [])


class OfferedTests(LargeCase):
    """When files are sent in one request."""

    def sent_at_once(self, *words: str, **more: Any) -> None:
        """Assert that the file is sent in one request."""
        self.bodies.clear()
        self.answer = {"files": [{"uri": f"workspace:{CHAT}/0-f", "size": self.LARGE}]}
        self.ended(self.put("big", *words, **more), 0)
        self.assertEqual((len(self.bodies), self.uploads), (1, {}))
        self.assertIn(self.content, self.bodies[0])

    def test_not_offered(self) -> None:
        """Without resumable uploads, or for larger files than they take, a form is sent."""
        for fault in (respond(404), respond(405), respond(501), respond(204), respond(401)):
            self.faults = [fault]
            self.sent_at_once()
        self.max_size = self.LARGE - 1
        self.sent_at_once()

    def test_workspace_without(self) -> None:
        """A workspace may not have what the platform offers."""
        for status, code in ((501, "operation_unsupported"), (404, "no_route"), (405, "")):
            self.faults = [None, respond(status, code)]
            self.sent_at_once()

    def test_unavailable(self) -> None:
        """An unavailable platform is reported."""
        self.faults = [respond(503)]
        self.ended(self.put("big"), 6)

    def test_small(self) -> None:
        """Nothing is asked for a small file, nor for a mode, which such an upload cannot have."""
        self.fill(self.content[1:])
        self.answer = {"files": [{"uri": f"workspace:{CHAT}/0-f", "size": self.LARGE - 1}]}
        self.ended(self.put("big"), 0)
        self.fill(self.content)
        self.ended(self.put("big", "--mode", "600", to=f"{WORKSPACE}:/workspace/out/x"), 0)
        self.assertEqual(self.methods, ["POST", "PUT"])


class LaterRunTests(LargeCase):
    """``--continue``: what an interrupted command has left."""

    def interrupted(self, *words: str, to: str = WORKSPACE) -> None:
        """Run a command that sends 1000 bytes."""
        self.faults = [None, None, cut_after(1000)]
        result = self.put("big", "--retries", "0", *words, to=to)
        self.ended(result, 7, "the upload was interrupted", "--continue sends the rest")
        self.requests.clear()

    def test_record(self) -> None:
        """The record has the URL and what tells the file, but no token; only the user reads it."""
        self.interrupted()
        (record,) = self.records()
        self.assertEqual(stat.S_IMODE(os.stat(record).st_mode), 0o600)
        facts = os.stat(self.path("big"))
        with open(record) as file:
            text = file.read()
        expected = {
            "url": f"{self.url}{UPLOADS}/{1:032x}",
            "size": self.LARGE,
            "mtime": facts.st_mtime_ns,
            "inode": facts.st_ino,
        }
        self.assertEqual(json.loads(text), expected)
        self.assertNotIn(TOKEN, text)

    def test_continues(self) -> None:
        """The rest is sent, and the record is removed."""
        self.interrupted()
        result = self.put("./big", "--continue")
        self.ended(result, 0, "continuing after 1.00kB of 300kB\n")
        self.assertEqual((result.stdout, self.upload.content), (STORED, self.content))
        self.assertEqual(self.methods, ["OPTIONS", "HEAD", "PATCH"])
        self.assertEqual(self.requests[2][2]["Upload-Offset"], "1000")
        self.assertEqual(self.records(), [])

    def test_from_the_start(self) -> None:
        """Without ``--continue``, or without a record, the upload is begun."""
        self.interrupted()
        result = self.put("big")
        self.ended(result, 0, "an earlier upload of big is not finished; --continue sends its rest")
        self.assertEqual(self.methods, ["OPTIONS", "POST", "PATCH"])
        self.requests.clear()
        result = self.put("big", "--continue")
        self.ended(result, 0)
        self.assertNotIn("not finished", result.stderr)
        self.assertEqual(self.methods, ["OPTIONS", "POST", "PATCH"])

    def test_changed(self) -> None:
        """A file that has changed is sent from its start; its old upload is removed."""
        self.interrupted()
        self.content = b"x" + self.content
        self.fill(self.content)
        result = self.put("big", "--continue")
        self.ended(result, 0, "big has changed since its upload began; starting over\n")
        self.assertEqual(self.methods, ["OPTIONS", "DELETE", "POST", "PATCH"])
        self.assertEqual(self.upload.content, self.content)

    def test_changed_secretly(self) -> None:
        """A file that was changed without a trace has another digest."""
        self.interrupted()
        facts = os.stat(self.path("big"))
        with open(self.path("big"), "r+b") as file:
            file.write(b"\0\0\0\0")
        os.utime(self.path("big"), ns=(facts.st_atime_ns, facts.st_mtime_ns))
        result = self.put("big", "--continue")
        self.ended(result, 0, "gone, or is of other content; starting over")
        self.assertEqual(self.methods, ["OPTIONS", "HEAD", "POST", "PATCH"])

    def test_expired(self) -> None:
        """An upload that the workspace has forgotten is begun again."""
        self.interrupted()
        self.uploads.clear()
        self.ended(self.put("big", "--continue", "--retries", "0"), 0, "starting over\n")
        self.assertEqual(self.records(), [])

    def test_other_destination(self) -> None:
        """An upload is continued only to where it was begun, on the same conditions."""
        place = f"{WORKSPACE}:/workspace/out/x"
        self.interrupted(to=place)
        for words, to in (
            (("--if-absent",), place),
            ((), place + "y"),
            ((), WORKSPACE),
            (("--name", "other"), WORKSPACE),
        ):
            self.requests.clear()
            self.ended(self.put("big", "--continue", *words, to=to), 0)
            self.assertNotIn("HEAD", self.methods)
        self.requests.clear()
        self.ended(self.put("big", "--continue", to=place), 0)
        self.assertIn("HEAD", self.methods)

    def test_record_of_another_server(self) -> None:
        """A record that leads elsewhere is not followed: the token would be sent there."""
        self.interrupted()
        (record,) = self.records()
        with open(record) as file:
            value = json.load(file)
        for url in (f"http://127.0.0.1:1{UPLOADS}/{1:032x}", f"{self.url}/workspaces/x/uploads/1"):
            with open(record, "w") as file:
                json.dump({**value, "url": url}, file)
            self.requests.clear()
            self.ended(self.put("big", "--continue"), 0)
            self.assertEqual(self.methods[:2], ["OPTIONS", "POST"])
        with open(record, "w") as file:
            file.write("{")
        self.ended(self.put("big", "--continue"), 0)

    def test_old_records(self) -> None:
        """Records that are too old are removed; other files are not."""
        self.interrupted()
        (record,) = self.records()
        directory = os.path.dirname(record)
        other = os.path.join(directory, "notes.json")
        os.rename(record, os.path.join(directory, "0" * 32 + ".json"))
        with open(other, "w"):
            pass
        for path in self.records():
            os.utime(path, (0, 0))
        self.ended(self.put("big"), 0)
        self.assertEqual(self.records(), [other])

    def test_no_state(self) -> None:
        """If the record cannot be written, the upload goes on, with a warning."""
        self.write(".state", "a file in its place")
        result = self.put("big")
        self.ended(result, 0, "warning: --continue will not work: cannot write ")
        self.assertEqual(self.put("big", "-q").stderr, "")

    def test_directory(self) -> None:
        """The directory of state is that of the XDG specification."""
        home = os.path.expanduser("~/.local/state/chatfiles/uploads")
        for environ, expected in (
            ({"XDG_STATE_HOME": "/s"}, "/s/chatfiles/uploads"),
            ({"XDG_STATE_HOME": "relative"}, home),
            ({"XDG_STATE_HOME": ""}, home),
            ({}, home),
        ):
            self.assertEqual(upload_records.records_directory(environ), expected)


class SeveralTests(LargeCase):
    """Several files of one command."""

    def setUp(self) -> None:
        super().setUp()
        self.write("small", "1")
        row = {"uri": f"workspace:{CHAT}/small", "size": 1}
        self.answer = {"files": [{**row, "sha256": None}]}

    def test_order(self) -> None:
        """Large files are sent first; the paths have the order of the command."""
        result = self.put("small", "big", "--json")
        self.ended(result, 0)
        uris = [row["uri"] for row in json.loads(result.stdout)["files"]]
        self.assertEqual(uris, [f"workspace:{CHAT}/small", f"workspace:{CHAT}/0-f"])
        self.assertEqual(self.methods, ["OPTIONS", "POST", "PATCH", "GET", "POST"])

    def test_continues(self) -> None:
        """If a later file fails, those that are stored are not sent again."""
        self.faults = [None, None, None, respond(413, "request_too_large")]
        self.ended(self.put("small", "big"), 5, "--continue sends the rest")
        self.requests.clear()
        self.ended(self.put("small", "big", "--continue"), 0)
        self.assertEqual(self.methods, ["OPTIONS", "HEAD", "POST"])
        self.assertEqual(self.records(), [])


class PathTests(LargeCase):
    """A large file to a path."""

    PLACE = f"{WORKSPACE}:/workspace/out/a b"

    def test_request(self) -> None:
        """The path is in the query, the condition in a header; the answer is compared."""
        result = self.put("big", "--if-absent", to=self.PLACE)
        self.ended(result, 0)
        self.assertEqual(result.stdout, "/workspace/out/a b\n")
        _, target, headers = self.requests[1]
        self.assertEqual(target, f"{UPLOADS}?path=/workspace/out/a%20b")
        self.assertEqual(headers["If-None-Match"], "*")
        self.assertEqual((self.upload.content, self.records()), (self.content, []))

    def test_parents(self) -> None:
        """Missing directories are created first."""
        self.ended(self.put("big", "--parents", to=self.PLACE), 0)
        self.assertEqual(self.requests[1][0], "POST")
        expected = f"/workspaces/{WORKSPACE}/fs/directories?path=/workspace/out&parents=1"
        self.assertEqual(self.requests[1][1], expected)

    def test_json(self) -> None:
        """
        ``--json`` has the entity tag, as that of a small file.  It waits until the tag is strong.
        """
        now = "2026-11-30T12:00:00.000000000Z"
        for tag, later, expected in (
            ('"v"', now, '"v"'),
            ('W/"v"', now, '"w"'),
            ('W/"v"', now[:-2] + "1Z", None),
        ):
            entries = [self.entry('"w"', later), self.entry(tag, now)]
            self.patch(Handler, "do_GET", lambda handler, to=entries: handler.tell(to.pop()))
            result = self.put("big", "--json", to=self.PLACE)
            self.ended(result, 0)
            answer = json.loads(result.stdout)
            self.assertEqual(
                (answer["ref"], answer.get("etag")), ("/workspace/out/a%20b", expected)
            )

    def entry(self, etag: str, mtime: str) -> object:
        """:return: the response of a listing."""
        entry = {"name": "a b", "ref": "/workspace/out/a%20b", "type": "file", "size": self.LARGE}
        return {"entry": {**entry, "etag": etag, "mtime": mtime}}

    def test_changed_meanwhile(self) -> None:
        """A version that was replaced meanwhile is status 5."""
        self.faults = [None, None, respond(412, "precondition_failed")]
        self.ended(self.put("big", "--if-match", "v", to=self.PLACE), 5, "`chatfiles stat`")


class TerminalTests(test_terminal.TerminalCase, LargeCase):
    """Output on a terminal."""

    LARGE = (16 << 20) + 1

    def run_put(self, *words: str, signum: int | None = None) -> tuple[int, str]:
        """Run ``chatfiles put`` on a terminal."""
        words = ("put", "--token-file", "token", "big", *words, WORKSPACE)
        return self.run_on_terminal(*words, signum=signum, XDG_STATE_HOME=self.path(".state"))

    def test_bar(self) -> None:
        """The bar begins where the upload continues."""
        self.faults = [None, None, cut_after(8 << 20)]
        status, written = self.run_put("--retries", "0")
        self.assertEqual(status, 7, written)
        self.assertIn("computing its SHA-256", written)
        status, written = self.run_put("--continue")
        self.assertEqual(status, 0, written)
        self.assertIn("continuing after 8.39MB of 16.8MB\n", written)
        self.assertRegex(written.partition("continuing")[2], r"big:  50%\|")
        self.assertIn("stored big (16.8MB in ", written)
        self.assertEqual(self.upload.content, self.content)

    def test_interrupted(self) -> None:
        """Ctrl-C says how to continue."""

        def wait(handler: Handler) -> bool:
            self.upload.content += handler.body(1 << 20)
            self.begun.set()
            handler.rfile.read()  # until the client has left
            return True

        self.faults = [None, None, wait]
        status, written = self.run_put(signum=signal.SIGINT)
        self.assertEqual(status, 130, written)
        self.assertIn("--continue sends the rest\nchatfiles: interrupted\n", written)
        status, written = self.run_put("--continue")
        self.assertEqual((status, self.upload.content), (0, self.content), written)
