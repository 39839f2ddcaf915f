"""
reference/paths, "What is found" on running roles: which paths a query names, and what is at them.

Every request is sent to the workspace directly and through the platform: each role checks for
itself, and both have to come to the same result.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from urllib.parse import unquote_to_bytes

from tests.live.processes import LiveCase, Pair, lines_of, quoted
from tests.live.rawhttp import Connection, Response, fetch

REQUIRED = "path query required"
ONCE = "path query must be given once"
ABSOLUTE = "path must be absolute"
UNDER = "path must be under /configs, /workspace, /home, or /plugins"
INVALID = "invalid path"
IRREGULAR = "path is not a regular file"
MISSING = "file not found"

NAMES: tuple[bytes, ...] = (
    b"a.txt",
    b"no-extension",
    b".hidden",
    b"..foo",
    b"...",
    b"a..b.txt",
    b"trailing.",
    b"trailing ",
    b" leading",
    b"   ",
    b"sp ace.txt",
    b"plus+plus.txt",
    b"per%cent.txt",
    b"per%2Fcent%2e%2e.txt",
    b"%2e%2e",
    b"hash#q?.txt",
    b"semi;colon&amp=eq.txt",
    b"quo\"te'd.txt",
    b"back\\slash.txt",
    b"..\\up.txt",
    b"new\nline.txt",
    b"return\r\nSet-Cookie: a=b.txt",
    b"tab\tbell\x07esc\x1b[31m.txt",
    b"\x01",
    b"del\x7f.txt",
    b"$HOME",
    b"${IFS}`id`$(id)",
    b"~",
    b"~root",
    b"*",
    b"[a-z]?",
    b"-rf",
    b"--help",
    b"C:",
    b"con",
    b"file:name@host|<script>alert(1)<",
    "ünïcödé.txt".encode(),
    unicodedata.normalize("NFC", "nfc-é.txt").encode(),
    "日本語.txt".encode(),
    "rtl-\u202egpj.exe".encode(),
    "zero\u200bwidth\ufeff.txt".encode(),
    "line\u2028separator\x85.txt".encode(),
    "\U0001f600.txt".encode(),
    "．．".encode(),
    b"latin-\xe9.txt",
    b"\xff\xfe\xfd",
    b"\xc0\xae\xc0\xae",
    b"\xed\xa0\x80",
    b"n" * 255,
    "é".encode() * 127,
    b"\xff" * 255,
)

# query → the error of 400. {W} is escaped or not as it stands.
BAD_FORM: tuple[tuple[bytes, str], ...] = (
    (b"", REQUIRED),
    (b"path=", REQUIRED),
    (b"path", REQUIRED),
    (b"Path=/workspace/a.txt", REQUIRED),
    (b"PATH=/workspace/a.txt", REQUIRED),
    (b"path%00=/workspace/a.txt", REQUIRED),
    (b"path[]=/workspace/a.txt", REQUIRED),
    (b"x=1&file=/workspace/a.txt", REQUIRED),
    (b";path=/workspace/a.txt", REQUIRED),
    (b"disposition=inline", REQUIRED),
    (b"path=/workspace/a.txt&path=/workspace/a.txt", ONCE),
    (b"path=/workspace/a.txt&path=/etc/passwd", ONCE),
    (b"path=/workspace/a.txt&path=", ONCE),
    (b"path=&path=/workspace/a.txt", ONCE),
    (b"path=/workspace/a.txt&%70ath=/workspace/a.txt", ONCE),
    (b"path=a.txt", ABSOLUTE),
    (b"path=a.txt&path=b.txt", ONCE),
    (b"path=workspace/a.txt", ABSOLUTE),
    (b"path=./workspace/a.txt", ABSOLUTE),
    (b"path=../workspace/a.txt", ABSOLUTE),
    (b"path=~/a.txt", ABSOLUTE),
    (b"path=$HOME/a.txt", ABSOLUTE),
    (b"path=%20/workspace/a.txt", ABSOLUTE),
    (b"path=+/workspace/a.txt", ABSOLUTE),
    (b"path=%09/workspace/a.txt", ABSOLUTE),
    (b"path=%00/workspace/a.txt", ABSOLUTE),
    (b"path=%EF%BB%BF/workspace/a.txt", ABSOLUTE),
    (b"path==/workspace/a.txt", ABSOLUTE),
    (b"path=workspace:/workspace/a.txt", ABSOLUTE),
    (b"path=file:///workspace/a.txt", ABSOLUTE),
    (b"path=%5Cworkspace%5Ca.txt", ABSOLUTE),
    (b"path=%252Fworkspace%252Fa.txt", ABSOLUTE),
    (b"path=%EF%BC%8Fworkspace/a.txt", ABSOLUTE),
    (b"path=/", UNDER),
    (b"path=//", UNDER),
    (b"path=/etc/passwd", UNDER),
    (b"path=/proc/self/environ", UNDER),
    (b"path=/root/.ssh/id_rsa", UNDER),
    (b"path=//workspace/a.txt", UNDER),
    (b"path=/./workspace/a.txt", UNDER),
    (b"path=/../workspace/a.txt", UNDER),
    (b"path=/x/../workspace/a.txt", UNDER),
    (b"path=/Workspace/a.txt", UNDER),
    (b"path=/WORKSPACE/a.txt", UNDER),
    (b"path=/workspaceX/secret.txt", UNDER),
    (b"path=/workspace2", UNDER),
    (b"path=/workspac/a.txt", UNDER),
    (b"path=/workspace%00/a.txt", UNDER),
    (b"path=/workspace%20/a.txt", UNDER),
    (b"path=/workspace%5Ca.txt", UNDER),
    (b"path=/workspace;/a.txt", UNDER),
    (b"path=/config/a.txt", UNDER),
    (b"path=/plugin/a.txt", UNDER),
    (b"path=/home.bak/a.txt", UNDER),
    (b"path=/etc/%00", UNDER),
    (b"path=/" + b"x" * 5000, UNDER),
    (b"path=/workspace/", INVALID),
    (b"path=/workspace//", INVALID),
    (b"path=/workspace/.", INVALID),
    (b"path=/workspace/..", INVALID),
    (b"path=/workspace/../", INVALID),
    (b"path=/workspace/../outside/secret.txt", INVALID),
    (b"path=/workspace/../workspace/a.txt", INVALID),
    (b"path=/workspace/../configs/.platform_inbound_secret", INVALID),
    (b"path=/workspace/sub/../a.txt", INVALID),
    (b"path=/workspace/./a.txt", INVALID),
    (b"path=/workspace//a.txt", INVALID),
    (b"path=/workspace/sub//b.txt", INVALID),
    (b"path=/workspace/a.txt/", INVALID),
    (b"path=/workspace/a.txt/.", INVALID),
    (b"path=/workspace/a.txt//", INVALID),
    (b"path=/workspace/missing/", INVALID),
    (b"path=/workspace%2f%2e%2e%2foutside/secret.txt", INVALID),
    (b"path=/workspace/%2e%2e/outside/secret.txt", INVALID),
    (b"path=/workspace/%2E./outside", INVALID),
    (b"path=%2Fworkspace%2F.%2Fa.txt", INVALID),
    (b"path=/workspace/a.txt%00", INVALID),
    (b"path=/workspace/a.txt%00.png", INVALID),
    (b"path=/workspace/%00", INVALID),
    (b"path=/workspace/..%00/a.txt", INVALID),
    (b"path=/workspace/sub%00/../a.txt", INVALID),
    (b"path=/workspace" + b"/.." * 200 + b"/etc/passwd", INVALID),
    (b"path=/workspace/" + b"n" * 256, INVALID),
    (b"path=/workspace/" + b"n" * 256 + b"/a.txt", INVALID),
    (b"path=/workspace/sub/" + b"%C3%A9" * 128, INVALID),
    (b"path=/workspace" + b"/abc" * 1021 + b"/zz", INVALID),  # 4097 bytes
    (b"path=/workspace" + b"/%ff%ff" * 1400, INVALID),
    (b"path=/configs/..", INVALID),
    (b"path=/home//x", INVALID),
    (b"path=/plugins/p/./plugin.py", INVALID),
)

# query → the same file, written in different ways.
SAME_FILE: tuple[bytes, ...] = (
    b"path=/workspace/a.txt",
    b"path=%2Fworkspace%2Fa.txt",
    b"path=%2fworkspace%2fa%2etxt",
    b"path=/%77%6f%72%6b%73%70%61%63%65/%61.%74%78%74",
    b"%70ath=/workspace/a.txt",
    b"%70%61%74%68=%2Fworkspace/a.txt",
    b"&path=/workspace/a.txt",
    b"&&path=/workspace/a.txt&",
    b"x=1&path=/workspace/a.txt",
    b"path=/workspace/a.txt&x=1",
    b"path=/workspace/a.txt&x=%ff%00&=&==&x",
    b"path=/workspace/a.txt&Path=/etc/passwd&path[]=x",
    b"path=/workspace/a.txt&token=none&secret=none",
)

# Well-formed, but the name of nothing: a lenient parser takes these for a file.
NOTHING: tuple[bytes, ...] = (
    b"path=/workspace/missing",
    b"path=/workspace/missing/x",
    b"path=/workspace/a.txt/x",
    b"path=/workspace/a.txt/x/y/z",
    b"path=/workspace/A.TXT",
    b"path=/workspace/a.txt%20",
    b"path=/workspace/a.txt+",
    b"path=/workspace/a.txt%0A",
    b"path=/workspace/a.txt;x=1",
    b"path=/workspace/a.txt;",
    b"path=/workspace/a.txt?x",
    b"path=/workspace/a.txt%3Fx",
    b"path=/workspace/a.txt%23",
    b"path=/workspace/%61%252etxt",
    b"path=/workspace/a%252etxt",
    b"path=/workspace/a%zz",
    b"path=/workspace/a%",
    b"path=/workspace/a%2",
    b"path=/workspace/%u0061.txt",
    b"path=/workspace/%26%2397;.txt",
    b"path=/workspace/%252e%252e/outside/secret.txt",
    b"path=/workspace/%c0%ae%c0%ae/outside/secret.txt",
    b"path=/workspace/%ef%bc%8e%ef%bc%8e/outside/secret.txt",
    b"path=/workspace/%e2%80%a5/outside/secret.txt",
    b"path=/workspace/..;/outside/secret.txt",
    b"path=/workspace/.../outside/secret.txt",
    b"path=/workspace/..%5coutside%5csecret.txt",
    b"path=/workspace/..%c0%afoutside/secret.txt",
    b"path=/workspace/..%20/outside/secret.txt",
    b"path=/workspace/%20../outside/secret.txt",
    b"path=/workspace/%ed%a0%81",
    b"path=/workspace/~/a.txt",
    b"path=/workspace/$PWD/a.txt",
    b"path=/workspace/*.txt",
    b"path=/workspace/<script>alert(1)</script>",
    b"path=/workspace/" + quoted(unicodedata.normalize("NFD", "nfc-é.txt").encode()).encode(),
    b"path=/workspace/" + b"m" * 255,
    b"path=/workspace" + b"/%61%62%63" * 1021,  # 4094 bytes, 9189 as it is written
    b"path=/workspace" + b"/abc" * 1021 + b"/z",  # 4096 bytes
)

DENIED: tuple[str, ...] = (
    "/configs/.platform_inbound_secret",
    "/configs/.platform_inbound_secret.bak",
    "/configs/.platform_inbound_secret~",
    "/configs/.auth_token",
    "/configs/.auth_token.old",
    "/configs/.auth_tokens/anything",
    "/configs/.hermes",
    "/configs/.hermes/x",
    "/configs/.hermes/deep/er/x",
    "/home/u/.ssh/id_rsa",
    "/home/v/.ssh",
    "/workspace/private/deep/notes.key",
    "/workspace/notes.key",
)
NOT_DENIED: tuple[str, ...] = (
    "/configs/auth_token",
    "/configs/x.auth_token",
    "/configs/sub/.auth_token",
    "/configs/.hermesX",
    "/workspace/.auth_token",
    "/workspace/.platform_inbound_secret",
    "/home/u/ssh/id_rsa",
    "/home/.ssh",
    "/workspace/notes.keys",
    "/plugins/notes.key",
)


class PathTests(LiveCase):
    """A tree of ordinary files with extraordinary names."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        for name in NAMES:
            pair.write(b"workspace/" + name, b"<" + name + b">")
        pair.write("workspace/sub/b.txt", b"hello b\n")
        pair.write("workspaceX/secret.txt", b"outside")
        pair.write("outside/secret.txt", b"outside")
        pair.write("plugins/p/plugin.py", b"print(1)\n")
        pair.write("home/u/.profile", b"profile")
        pair.write("configs/agent.yaml", b"a: 1\n")
        there = {"/configs/.platform_inbound_secret", "/configs/.hermes", "/home/v/.ssh"}
        for path in {*DENIED, *NOT_DENIED} - there:
            pair.write(path[1:], b"content of " + path.encode())
        os.mkdir(pair.at("home", "v"))
        os.mkdir(pair.at("home", "v", ".ssh"))

    def serves(self, answers: dict[str, Response], content: bytes, about: object) -> None:
        """Both responses are the file, whole."""
        for name, answer in answers.items():
            self.assertEqual((answer.status, answer.body), (200, content), (name, about))
            self.assertEqual(answer["content-length"], str(len(content)))

    def refuses(self, answers: dict[str, Response], status: int, text: str, about: object) -> None:
        """Both responses are this error."""
        for name, answer in answers.items():
            self.assert_error(answer, status, text, (name, about))

    def test_names(self) -> None:
        """A file of any name is served under exactly that name, and its name breaks no header."""
        for name in NAMES:
            answers = self.pair.file(b"/workspace/" + name)
            self.serves(answers, b"<" + name + b">", name)
            self.assertEqual(
                lines_of(answers["direct"].fields), lines_of(answers["through"].fields), name
            )
            for answer in answers.values():
                self.check_disposition(answer["content-disposition"], name)
                self.assertNotIn("set-cookie", dict(answer.fields))

    def check_disposition(self, value: str, name: bytes) -> None:
        """
        The two forms of the name are those of reference/downloads, "Headers", in printable ASCII.
        """
        self.assertTrue(value.startswith('attachment; filename="'), value)
        plain, _, extended = value.removeprefix('attachment; filename="').rpartition(
            "\"; filename*=UTF-8''"
        )
        text = name.decode("utf-8", "replace")
        self.assertEqual(unquote_to_bytes(extended).decode(), text)
        self.assertRegex(extended, r"\A(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})*\Z")
        self.assertRegex(plain, r'\A(?:[ !#-\[\]-~]|\\["\\])*\Z')
        if text.isascii() and text.isprintable():
            self.assertEqual(re.sub(r"\\(.)", r"\1", plain), text)

    def test_names_unescaped(self) -> None:
        """A name that curl sends as it was typed, unescaped, is taken literally."""
        for name in (b"a..b.txt", "日本語.txt".encode(), b"latin-\xe9.txt", b"quo\"te'd.txt", b"*"):
            self.serves(self.pair.get(b"path=/workspace/" + name), b"<" + name + b">", name)
        self.serves(self.pair.get("path=/workspace/sp+ace.txt"), b"<sp ace.txt>", "a plus")

    def test_same_file(self) -> None:
        """Escapes, other parameters and empty parameters change nothing."""
        for query in SAME_FILE:
            self.serves(self.pair.get(query), b"<a.txt>", query)

    def test_other_roots(self) -> None:
        """Each root is served from its own directory."""
        for path, content in (
            ("/plugins/p/plugin.py", b"print(1)\n"),
            ("/home/u/.profile", b"profile"),
            ("/configs/agent.yaml", b"a: 1\n"),
            ("/workspace/sub/b.txt", b"hello b\n"),
        ):
            self.serves(self.pair.file(path), content, path)

    def test_bad_form(self) -> None:
        """Each rule of form is applied, in the order of the contract, by both roles."""
        for query, text in BAD_FORM:
            self.refuses(self.pair.get(query), 400, text, query[:80])

    def test_bad_form_is_the_platforms_own_verdict(self) -> None:
        """The platform refuses an invalid path without a request to the workspace."""
        mark = self.pair.workspace.mark()
        for number, (query, text) in enumerate(BAD_FORM[::7]):
            fields = {**self.pair.bearer, "X-Request-Id": f"form-{number}"}
            answer = fetch(self.pair.platform.url, self.pair.download_target(query), fields)
            self.assert_error(answer, 400, text, query[:80])
        self.pair.file("/workspace/a.txt", {"X-Request-Id": "form-end"})
        self.pair.workspace.logged(r"\bform-end\b", since=mark)
        self.assertNotRegex(self.pair.workspace.log, r"\bform-[0-9]")

    def test_nothing_there(self) -> None:
        """A path is decoded once, and not normalized: what then names nothing is 404."""
        for query in NOTHING:
            answers = self.pair.get(query)
            self.refuses(answers, 404, MISSING, query[:80])
            for answer in answers.values():
                self.assertNotIn(b"<script", answer.body)

    def test_longest(self) -> None:
        """A path of 4096 bytes in segments of 255 is served; with one more it is refused."""
        room = 4096 - len(b"/workspace")
        segments = [b"\xfe" * 255] * 15
        segments.append(b"f" * (room - sum(len(segment) + 1 for segment in segments) - 1))
        path = b"/workspace/" + b"/".join(segments)
        self.assertEqual(len(path), 4096)
        directory = os.open(self.pair.at("workspace"), os.O_RDONLY)
        for segment in segments[:-1]:
            os.mkdir(segment, dir_fd=directory)
            below = os.open(segment, os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = below
        with open(os.open(segments[-1], os.O_CREAT | os.O_WRONLY, dir_fd=directory), "wb") as file:
            file.write(b"deep")
        os.close(directory)
        self.serves(self.pair.file(path), b"deep", "4096 octets")
        self.refuses(self.pair.file(path + b"f"), 400, INVALID, "4097 octets")

    def test_roots_and_directories(self) -> None:
        """A directory is not a regular file, a root included."""
        for path in ("/workspace", "/configs", "/home", "/plugins", "/workspace/sub", "/home/u"):
            self.refuses(self.pair.file(path), 400, IRREGULAR, path)

    def test_denied(self) -> None:
        """A denied path has exactly the response of a missing file; the rest is served."""
        missing = self.pair.file("/configs/missing")
        for path in DENIED:
            answers = self.pair.file(path)
            self.refuses(answers, 404, MISSING, path)
            for name, answer in answers.items():
                self.assertEqual(
                    lines_of(answer.fields), lines_of(missing[name].fields), (name, path)
                )
                told, absent = json.loads(answer.body), json.loads(missing[name].body)
                self.assertEqual({**told, "request_id": ""}, {**absent, "request_id": ""})
        for path in NOT_DENIED:
            self.serves(self.pair.file(path), b"content of " + path.encode(), path)

    def test_invalid_disposition(self) -> None:
        """``disposition`` has to be ``inline``, once."""
        for value in ("attachment", "", "INLINE", "inline%20", "inline&disposition=inline"):
            answers = self.pair.get(f"path=/workspace/a.txt&disposition={value}")
            self.refuses(answers, 400, "invalid disposition", value)

    def test_head(self) -> None:
        """The headers for ``HEAD`` are those for ``GET``, of files and of errors."""
        for query in (
            b"path=/workspace/a.txt",
            b"path=/workspace/sub/b.txt&disposition=inline",
            b"path=/workspace/missing",
            b"path=/workspace",
            b"path=/workspace/../x",
            b"",
        ):
            with_body, without = self.pair.get(query), self.pair.get(query, method="HEAD")
            for name in with_body:
                one, other = with_body[name], without[name]
                self.assertEqual(one.status, other.status, (name, query))
                # The text of an error holds the request's id, so its length is the same.
                self.assertEqual(lines_of(one.fields), lines_of(other.fields), (name, query))
                self.assertEqual(other.body, b"")


class CredentialTests(LiveCase):
    """Which credentials a workspace accepts, and what happens to its secret."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello a\n")

    def ask(self, fields: dict[str, str] | list[tuple[str, str]], target: str = "") -> Response:
        """:return: the workspace's response."""
        default = "/internal/file/read?path=/workspace/a.txt"
        return fetch(self.pair.workspace.url, target or default, fields)

    def test_refused(self) -> None:
        """Only the inbound secret as a bearer token opens a workspace."""
        secret, token = self.pair.secret, self.pair.token
        refused: tuple[list[tuple[str, str]], ...] = (
            [],
            [("Authorization", "")],
            [("Authorization", "Bearer")],
            [("Authorization", "Bearer ")],
            [("Authorization", secret)],
            [("Authorization", f"Basic {secret}")],
            [("Authorization", f"Token {secret}")],
            [("Authorization", f"Bearer {secret}x")],
            [("Authorization", f"Bearer {secret[:-1]}")],
            [("Authorization", f"Bearer {secret.swapcase()}")],
            [("Authorization", f"Bearer {secret} {secret}")],
            [("Authorization", f"Bearer {secret}, Bearer {secret}")],
            [("Authorization", f'Bearer "{secret}"')],
            [("Authorization", f"Bearer {token}")],
            [("Authorization", f"Bearer {self.pair.admin}")],
            [("Authorization", "Bearer \xff\xfe")],
            [("Authorization", f"Bearer {secret}"), ("Authorization", f"Bearer {secret}")],
            [("Authorization", "Bearer x"), ("Authorization", f"Bearer {secret}")],
            [("X-Authorization", f"Bearer {secret}")],
            [("Proxy-Authorization", f"Bearer {secret}")],
            [("Cookie", f"Authorization=Bearer {secret}")],
            [("Origin", "http://127.0.0.1"), ("Referer", "http://127.0.0.1/")],
        )
        for fields in refused:
            self.assert_error(self.ask(fields), 401, "unauthorized", fields)
        target = f"/internal/file/read?path=/workspace/a.txt&access_token={secret}&token={secret}"
        self.assert_error(self.ask({}, target), 401, "unauthorized")

    def test_accepted(self) -> None:
        """The scheme's name is not case-sensitive, and further spaces are allowed."""
        for value in ("Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}"):
            answer = self.ask({"Authorization": value.format(self.pair.secret)})
            self.assertEqual((answer.status, answer.body), (200, b"hello a\n"), value)

    def test_refused_before_the_path(self) -> None:
        """Without the secret a response says nothing about a path, not even about its form."""
        for query in ("", "path=a.txt", "path=/etc/passwd", "path=/workspace/missing", "path=%00"):
            answer = self.ask({}, f"/internal/file/read?{query}")
            self.assert_error(answer, 401, "unauthorized", query)

    def test_secret_file(self) -> None:
        """
        The secret's file is read again when it changes, however that happens; without a secret
        every credential is refused.
        """
        path, old = self.pair.secret_file, self.pair.secret
        self.addCleanup(self.pair.keep_secret, old)

        def holds(content: str | None, opens: str) -> bool:
            if content is None:
                os.unlink(path)
            else:
                with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                    file.write(content)
            answer = self.ask({"Authorization": f"Bearer {opens}"})
            self.assertIn(answer.status, (200, 401))
            return answer.status == 200

        self.pair.hide("second-secret", "third-secret")
        self.assertTrue(holds("second-secret", "second-secret"), "rewritten in place")
        self.assertFalse(holds("second-secret", old), "the old one still opens")
        self.assertTrue(holds("third-secret\n", "third-secret"), "with a line end")
        self.assertFalse(holds("", "third-secret"), "empty")
        self.assertFalse(holds("", ""), "empty, and nothing presented")
        self.assertFalse(holds("  \n", ""), "blank")
        self.assertFalse(holds(None, "third-secret"), "missing")
        self.assertTrue(holds("third-secret", "third-secret"), "there again")
        self.pair.keep_secret(old)
        answer = self.ask({"Authorization": f"Bearer {old}"})
        self.assertEqual(answer.status, 200, "replaced by renaming")

    def test_ready(self) -> None:
        """Without a secret ``/ready`` is 503; ``/health`` is 200."""
        ask = self.pair.workspace.url
        answer = fetch(ask, "/ready")
        self.assertEqual((answer.status, answer.json["role"]), (200, "workspace"))
        os.rename(self.pair.secret_file, self.pair.secret_file + ".away")
        self.addCleanup(os.rename, self.pair.secret_file + ".away", self.pair.secret_file)
        self.assertEqual(fetch(ask, "/ready").status, 503)
        answer = fetch(ask, "/health")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok", "role": "workspace"}))

    def test_hard_links(self) -> None:
        """
        A credential is not served under another name either, nor is one that has been replaced.
        """
        old = self.pair.secret
        token = self.pair.keep_token()
        link, token_link = (
            self.pair.at("workspace", "link"),
            self.pair.at("workspace", "token-link"),
        )
        os.link(self.pair.secret_file, link)
        os.link(token, token_link)
        try:
            for path in ("/workspace/link", "/workspace/token-link"):
                for answer in self.pair.file(path).values():
                    self.assert_error(answer, 404, MISSING, path)
            self.pair.keep_secret("a-newer-secret")
            answer = fetch(
                self.pair.workspace.url,
                "/internal/file/read?path=/workspace/link",
                {"Authorization": "Bearer a-newer-secret"},
            )
            self.assert_error(answer, 404, MISSING, "the secret before this one")
        finally:
            self.pair.keep_secret(old)
            for name in (link, token_link):
                os.unlink(name)
            if self.pair.via == "url":
                os.unlink(token)

    def test_routes(self) -> None:
        """Unknown routes are 404, known ones with another method 405 with ``Allow``."""
        url, inbound = self.pair.workspace.url, self.pair.inbound
        for target in (
            "/",
            "/internal",
            "/internal/",
            "/internal/file",
            "/internal/file/",
            "/internal/file/read/",
            "/internal/file/read/x",
            "//internal/file/read",
            "/internal//file/read",
            "/internal/file/../file/read",
            "/Internal/file/read",
            "/internal/file/Read",
            "/internal/file/read%00",
            "/internal/file%2Fread",
            "/favicon.ico",
            "/workspaces",
            "/metrics",
        ):
            answer = fetch(url, target + "?path=/workspace/a.txt", inbound)
            self.assertEqual((answer.status, answer.json["code"]), (404, "no_route"), target)
        for target, allowed in (
            ("/internal/file/read?path=/workspace/a.txt", {"GET", "HEAD"}),
            ("/health", {"GET", "HEAD"}),
            ("/ready", {"GET", "HEAD"}),
        ):
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get"):
                answer = fetch(url, target, inbound, method=method)
                self.assertEqual(answer.status, 405, (method, target))
                self.assert_error(answer, 405, "method not allowed")
                self.assertEqual(set(answer["allow"].split(", ")), allowed)

    def test_request_id(self) -> None:
        """A valid request id is kept, in every kind of response; any other is replaced."""
        good = ("a", "A-z.0_9", "x" * 64)
        bad = ("", "x" * 65, "a b", "a/b", "a\\b", "<a>", "é", "a,b", "a;b", "a:b")
        with Connection(self.pair.workspace.url) as connection:
            for target in ("/health", "/no/route", "/internal/file/read"):
                for given in good:
                    answer = connection.exchange("GET", target, {"X-Request-Id": given})
                    self.assertEqual(answer["x-request-id"], given)
                for given in bad:
                    answer = connection.exchange("GET", target, {"X-Request-Id": given})
                    self.assertRegex(answer["x-request-id"], r"\A[A-Za-z0-9._-]{1,64}\Z")
                    self.assertNotEqual(answer["x-request-id"], given)
                twice = [("X-Request-Id", "one"), ("X-Request-Id", "two")]
                self.assertNotIn(
                    connection.exchange("GET", target, twice)["x-request-id"], ("one", "two")
                )
