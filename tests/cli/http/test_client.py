"""
The console script and its platform: addresses, credentials, and the errors that it reports.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles import __version__
from chatfiles.cli.errors import CliError, printable
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.error_responses import exit_status
from chatfiles.cli.transfers.download import download_route
from chatfiles.client.core.errors import refused_class
from tests.cli.cli_stub import TOKEN, WORKSPACE, StubCase, answer, counted, said

NOT_FOUND = {"error": "file not found", "code": "not_found", "request_id": "r-17"}


class AddressTests(SynchronousTestCase):
    """The route of a file."""

    @given(st.binary(max_size=50))
    def test_route(self, path: bytes) -> None:
        """The route of any path is visible ASCII and decodes to the same bytes."""
        route = download_route(WORKSPACE, path)
        self.assertRegex(route, r"^[\x21-\x7e]+$")
        query = route.partition("?path=")[2]
        self.assertNotIn("+", query)
        self.assertEqual(unquote_to_bytes(query), path)
        self.assertFalse(set("&#?;") & set(query))


class PrintableTests(SynchronousTestCase):
    """Text of a server on a terminal."""

    @given(st.text(alphabet=st.characters(), max_size=30))
    def test_cannot_steer(self, text: str) -> None:
        """Only printable characters are printed; printable text is unchanged."""
        shown = printable(text)
        self.assertTrue(shown.isprintable(), shown)
        if text.isprintable():
            self.assertEqual(shown, text)

    def test_examples(self) -> None:
        """
        Escapes, C1 controls, direction marks, line ends and invalid bytes are printed escaped.
        """
        self.assertEqual(
            printable("\x1b[31m\x9b\u202e\r\n\udcff\u2028 é 日"),
            r"\x1b[31m\x9b\u202e\r\n\udcff\u2028 é 日",
        )

    def test_length(self) -> None:
        """Long text, such as a page of HTML, is truncated."""
        self.assertEqual(len(printable("x" * 10**5)), 501)


class ErrorTests(StubCase):
    """The messages for error responses."""

    def test_statuses(self) -> None:
        """Every HTTP status has the exit status that the help documents."""
        for status, expected in (
            (400, 5),
            (401, 4),
            (403, 4),
            (404, 3),
            (405, 5),
            (408, 6),
            (409, 5),
            (413, 5),
            (415, 5),
            (422, 5),
            (429, 6),
            (500, 6),
            (502, 6),
            (503, 6),
            (504, 6),
            (507, 6),
        ):
            self.assertEqual(exit_status(refused_class(status)(status=status)), expected)
            self.play(said(f"{status} X", {"error": "it says", "code": "c", "request_id": "r"}))
            self.ended(self.get("/workspace/f"), expected, "chatfiles: it says (c, request r)\n")

    def test_two_lines(self) -> None:
        """An error is printed in two lines: what happened, and a hint."""
        self.play(said("404 Not Found", NOT_FOUND))
        result = self.get("/workspace/f")
        self.ended(result, 3)
        first, second = result.stderr.splitlines()
        self.assertEqual(first, "chatfiles: file not found (not_found, request r-17)")
        self.assertTrue(second.startswith("hint: names are taken exactly"), second)
        self.assertEqual(self.files(), [])

    def test_hints(self) -> None:
        """The hint matches the error, whether the platform sends a code or not."""
        for status, error, hint in (
            (400, {"error": "x", "code": "path_outside_roots"}, "a path is absolute"),
            (400, {"error": "path must be absolute"}, "a path is absolute"),
            (400, {"error": "x", "code": "not_a_regular_file"}, "If it is a directory, get its"),
            (400, {"error": "path is not a regular file"}, "If it is a directory, get its files"),
            (400, {"error": "invalid workspace ID"}, None),
            (400, {"error": "x", "detail": "it is a directory"}, None),
            (401, {"error": "x", "code": "invalid_token"}, "is it for this workspace"),
            (500, {"error": "failed to write file", "code": "write_failed"}, "does not help"),
            (403, {"error": "x", "code": "insufficient_scope"}, "token create --scope"),
            (403, {"error": "permission denied"}, "may not read it"),
            (404, {"error": "file not found"}, "names are taken exactly"),
            (404, {"error": "workspace not found"}, "workspace list"),
            (404, {"error": "x", "code": "no_route"}, "is --platform"),
            (502, {"error": "workspace unreachable"}, "is the workspace running?"),
            (502, {"error": "x", "code": "workspace_url_not_allowed"}, "--upstream-allow"),
            (502, {"error": "x", "code": "workspace_refused_credentials"}, "every heartbeat"),
            (503, {"error": "x", "code": "workspace_offline"}, "is it running? Its log"),
            (503, {"error": "x", "code": "workspace_busy"}, "used by other requests"),
            (502, {"error": "x", "code": "workspace_answered_badly"}, "a workspace that responds"),
        ):
            self.play(said(f"{status} X", error))
            result = self.get("/workspace/f")
            if hint is None:
                self.assertNotIn("hint:", result.stderr)
            else:
                self.assertIn("hint: ", result.stderr)
                self.assertIn(hint, result.stderr)

    def test_not_by_itself(self) -> None:
        """A workspace that cannot write is no reason to try again; the status says so."""
        error = {"error": "failed to write file", "code": "write_failed", "detail": "no permission"}
        self.play(said("500 X", error))
        self.ended(self.get("/workspace/f"), 5, "chatfiles: failed to write file: no permission (")

    def test_detail_and_retry(self) -> None:
        """The error's ``detail`` and the time to wait are printed."""
        error = {
            "error": "workspace re-registering",
            "code": "x",
            "request_id": "r",
            "detail": "RFC #2312",
            "retry_after_seconds": 30,
        }
        self.play(said("503 Busy", error), said("503 Busy", {"error": "e"}, "Retry-After: 5"))
        self.ended(
            self.get("/workspace/f"),
            6,
            "workspace re-registering: RFC #2312 (x, request r)",
            "hint: try again in 30 seconds",
        )
        self.ended(self.get("/workspace/f"), 6, "hint: try again in 5 seconds")

    def test_long_text(self) -> None:
        """A text that is truncated does not push out the code and the request."""
        self.play(said("500 X", {"error": "x" * 600, "code": "c", "request_id": "r"}))
        self.ended(self.get("/workspace/f"), 6, "xxx… (c, request r)\n")

    def test_not_json(self) -> None:
        """An error of an intermediary, or with unexpected JSON, is reported by its status."""
        for body in (b"<html>Bad gateway", b"[1]", b'{"error": 7}', b"\xff", b"[" * 30000, b""):
            self.play(counted(body, "X-Request-Id: r9", status="502 Bad Gateway"))
            self.ended(
                self.get("/workspace/f"),
                6,
                "chatfiles: the platform responded 502 Bad Gateway (request r9)\n",
                "is the platform itself running?",
            )

    def test_endless_or_cut_error(self) -> None:
        """The body of an error is read up to a limit, and may be incomplete."""
        long = json.dumps({"error": "found", "more": "x" * 0x10000}).encode()
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(long), long)
        for wire in (
            counted(long, status="502 X"),
            answer("502 X", "Transfer-Encoding: chunked", body=chunk),
            counted(b"{}", short=1, status="502 X"),
            answer("502 X"),
        ):
            self.play(wire)
            self.ended(self.get("/workspace/f"), 6, "the platform responded 502 X\n")

    def test_control_characters(self) -> None:
        """Control characters in a server's text are escaped."""
        error = {"error": "a\x1b[2Jb\nc", "code": "\x07", "request_id": "\x9b", "detail": "\r"}
        self.play(said("400 Bad", error))
        result = self.get("/workspace/f")
        self.ended(result, 5, r"a\x1b[2Jb\nc: \r (\x07, request \x9b)")
        self.assertTrue(all(line.isprintable() for line in result.stderr.splitlines()))

    def test_unreachable(self) -> None:
        """
        If the platform is unreachable, the message names its address and the option to change it.
        """
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            result = self.get("/workspace/f", "--platform", url)
        self.ended(result, 6, f"cannot reach the platform at {url}: Connection refused", "--pl")

    def test_no_tls(self) -> None:
        """If a platform with an https URL speaks plain HTTP, the hint names that likely cause."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def answer_plainly() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer_plainly, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        result = self.get("/workspace/f", "--platform", url)
        thread.join()
        self.ended(result, 6, f"cannot reach the platform at {url}", "or is it an http:// address?")

    def test_no_answer(self) -> None:
        """A platform that closes the connection without a response is unreachable."""
        self.play(b"")
        self.ended(self.get("/workspace/f"), 6, "cannot reach the platform")

    def test_no_such_host(self) -> None:
        """Host names that cannot exist are reported as unreachable."""
        for host in ("x" * 64 + ".example", "a..b"):
            self.ended(self.get("/workspace/f", "--platform", f"http://{host}"), 6, "cannot reach")

    def test_usage(self) -> None:
        """Wrong arguments are reported before any request."""
        for words in (
            ("get", "/not-a-name", "/workspace/f"),
            ("get", WORKSPACE),
            ("get", "..", "/workspace/f"),
            ("get", WORKSPACE, "/workspace/f", "--platform", "http://u:p@h"),
            ("get", WORKSPACE, "/workspace/f", "--timeout", "0"),
            ("get", WORKSPACE, "/workspace/f", "--timeout", "nan"),
            ("get", WORKSPACE, "/workspace/f", "--retries", "-1"),
            ("put",),
        ):
            self.assertEqual(self.invoke(*words).exit_code, 2, words)
        self.assertEqual(self.asked, [])


class CredentialTests(StubCase):
    """The sources of tokens."""

    def sent(self) -> str:
        return str(self.asked[-1].headers["Authorization"])

    def ask(self, *words: str, **env: str) -> None:
        self.play(counted(b""))
        result = self.invoke("get", *words, "-f", WORKSPACE, "/workspace/f", env=env)
        self.ended(result, 0)

    def test_order(self) -> None:
        """An option takes precedence over the environment."""
        self.write("other", "  from-file\n")
        self.ask(CHATFILES_TOKEN="from-env")
        self.assertEqual(self.sent(), "Bearer from-env")
        self.ask(CHATFILES_TOKEN_FILE="other")
        self.assertEqual(self.sent(), "Bearer from-file")
        self.ask(CHATFILES_TOKEN_FILE="nowhere", CHATFILES_TOKEN="from-env")
        self.assertEqual(self.sent(), "Bearer from-env")
        self.ask("--token-file", "other", CHATFILES_TOKEN="from-env")
        self.assertEqual(self.sent(), "Bearer from-file")

    def test_admin_default(self) -> None:
        """The admin token in the state directory below the current one is the default."""
        os.mkdir(self.path("chatfiles-state"))
        self.write("chatfiles-state/admin-token", "adm-1")
        self.play(said("200 OK", []), said("200 OK", []), said("200 OK", []))
        self.ended(self.invoke("workspace", "list"), 0)
        self.assertEqual(self.sent(), "Bearer adm-1")
        self.ended(self.invoke("workspace", "list", env={"CHATFILES_ADMIN_TOKEN": "adm-2"}), 0)
        self.assertEqual(self.sent(), "Bearer adm-2")
        self.ended(self.invoke("workspace", "list", "--admin-token-file", "token"), 0)
        self.assertEqual(self.sent(), f"Bearer {TOKEN}")

    def test_missing(self) -> None:
        """Without a token no request is made, and the hint says how to give one."""
        result = self.invoke("get", WORKSPACE, "/workspace/f")
        self.ended(result, 4, "no token given", "--token-file", "CHATFILES_TOKEN")
        result = self.invoke("workspace", "list")
        self.ended(result, 4, "no admin token given", "--admin-token-file")
        self.assertEqual(self.asked, [])

    def test_unreadable(self) -> None:
        """A token file that is missing or holds no token is reported, without its content."""
        self.write("odd", "two tokens-in-here\n")
        self.write("empty", "\n")
        self.write("long", "x" * 10000)
        with open(self.path("binary"), "wb") as file:
            file.write(b"\xff\xfe")
        for name, text in (
            ("nowhere", "No such file"),
            ("odd", "does not hold a token"),
            ("empty", "does not hold a token"),
            ("long", "does not hold a token"),
            ("binary", "does not hold a token"),
            (".", "Is a directory"),
        ):
            result = self.invoke("get", "--token-file", name, WORKSPACE, "/workspace/f")
            self.ended(result, 4, text)
            self.assertNotIn("tokens-in-here", result.output)
        result = self.invoke("get", WORKSPACE, "/workspace/f", env={"CHATFILES_TOKEN": "a\nb"})
        self.ended(result, 4, "CHATFILES_TOKEN does not hold a token")
        self.assertEqual(self.asked, [])

    def test_readable_by_others(self) -> None:
        """A warning is printed if other users can read the token's file."""
        for mode, warned in ((0o600, False), (0o640, True), (0o604, True)):
            self.write("t", "abc", mode)
            self.play(counted(b""))
            result = self.invoke("get", "--token-file", "t", WORKSPACE, "/workspace/f", "-f")
            self.ended(result, 0)
            self.assertEqual("warning: other users can read t" in result.stderr, warned, mode)

    def test_not_on_the_command_line(self) -> None:
        """No option takes a token itself."""
        for word in ("--token", "--admin-token"):
            self.assertEqual(self.invoke("get", word, "x", WORKSPACE, "/workspace/f").exit_code, 2)


class HelpTests(StubCase):
    """The help."""

    def test_no_arguments(self) -> None:
        """Without arguments the help is printed, with every command and exit status."""
        result = self.invoke()
        for text in ("demo", "get", "workspace", "token", "Exit status:", "Examples:"):
            self.assertIn(text, result.output)
        self.assertIn("put", result.output.replace("output", "").split())

    def test_every_command_has_an_example(self) -> None:
        """The help of each command has an example, and all but the demo's have exit statuses."""
        for words in (
            ["demo"],
            ["get"],
            ["workspace"],
            ["token"],
            ["link"],
            ["keys"],
            *(["workspace", name] for name in ("create", "list", "show", "remove", "revoke-links")),
            *(["token", name] for name in ("create", "list", "revoke")),
            *(["keys", name] for name in ("list", "rotate", "revoke")),
        ):
            result = self.invoke(*words, "--help")
            self.ended(result, 0)
            self.assertIn("Example", result.output)
            self.assertIn(f"  chatfiles {' '.join(words)}", result.output)
            self.assertEqual("Exit status:" in result.output, words != ["demo"], words)

    def test_exit_statuses(self) -> None:
        """The table of exit statuses names each status once."""
        result = self.invoke("get", "--help")
        for status in Exit:
            self.assertEqual(result.output.count(f"\n    {status:d}  "), 1, status)

    def test_version(self) -> None:
        """``--version`` prints the version."""
        self.assertEqual(self.invoke("--version").output, f"chatfiles, version {__version__}\n")

    def test_platform_before_or_behind(self) -> None:
        """
        ``--platform`` may be before or after the command, and takes precedence over the
        environment.
        """
        for words in (
            ["--platform", self.url, "get", WORKSPACE, "/workspace/f", "-o", "-"],
            ["get", WORKSPACE, "/workspace/f", "-o", "-", "--platform", self.url],
        ):
            self.play(counted(b"x"))
            env = {"CHATFILES_PLATFORM": "http://127.0.0.1:1", "CHATFILES_TOKEN": "t"}
            self.assertEqual(self.invoke(*words, env=env).stdout, "x")

    def test_error_is_an_exit(self) -> None:
        """Exit statuses are plain numbers."""
        self.assertEqual(CliError("x", Exit.LOCAL).exit_code, 8)
