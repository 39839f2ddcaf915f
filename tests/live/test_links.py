"""
Signed links with real processes: programs that open them, and how they end.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tempfile
import zipfile
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.live.links import make_link, status_of
from tests.live.processes import SLACK, Pair, Role, environment, until
from tests.live.rawhttp import fetch
from tests.live.upload_client import UploadCase, file, form
from tests.support.fork_server import run
from tests.support.patience import PATIENCE

MIB = 1 << 20
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class LinkCase(UploadCase):
    """Both roles, with files to share."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/small.bin", b"small")
        pair.write("workspace/annual report.pdf", b"%PDF-1.4")
        pair.write("workspace/large.bin", bytes(range(256)) * (4 * MIB // 256))
        pair.write("workspace/src/a.txt", b"a")
        pair.write("workspace/src/b/c.txt", b"c")
        pair.write(b"workspace/\xff.txt", b"odd")

    def setUp(self) -> None:
        super().setUp()
        self.url = self.pair.platform.url
        self.directory_of_clients = tempfile.mkdtemp(prefix="chatfiles-links-")
        self.addCleanup(shutil.rmtree, self.directory_of_clients)

    def make(self, **body: Any) -> str:
        return make_link(self.pair, self.url, **body)

    def as_admin(self, method: str, target: str, body: object = None) -> Any:
        raw = None if body is None else json.dumps(body).encode()
        return self.pair.as_admin(method, f"/workspaces/{self.pair.id}/{target}", raw)

    def run_program(self, program: str, *words: str) -> str:
        """:return: what a program prints that ends well."""
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")
        env = {**os.environ, "HOME": self.directory_of_clients, "LC_ALL": "C.UTF-8"}
        for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
            env.pop(name, None)
        done = subprocess.run(
            [program, *words],
            cwd=self.directory_of_clients,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.decode()

    def saved(self) -> dict[str, bytes]:
        """:return: the files that programs have saved, by name."""
        found = {}
        for name in os.listdir(self.directory_of_clients):
            if not name.startswith("."):
                with open(os.path.join(self.directory_of_clients, name), "rb") as opened:
                    found[name] = opened.read()
        return found


class ProgramTests(LinkCase):
    """Programs that know nothing of chatfiles."""

    def test_curl(self) -> None:
        """``curl -OJ`` saves a file under its name."""
        link = self.make(path="/workspace/annual report.pdf")
        self.run_program("curl", "-q", "-sSfOJ", self.url + link)
        self.assertEqual(self.saved(), {"annual report.pdf": b"%PDF-1.4"})

    def test_wget(self) -> None:
        """``wget --content-disposition`` saves a file under its name."""
        link = self.make(path="/workspace/annual report.pdf")
        self.run_program("wget", "-q", "--content-disposition", self.url + link)
        self.assertEqual(self.saved(), {"annual report.pdf": b"%PDF-1.4"})

    def test_resume(self) -> None:
        """An interrupted download is continued."""
        link = self.make(path="/workspace/large.bin")
        path = os.path.join(self.directory_of_clients, "out")
        with open(path, "wb") as begun:
            begun.write((bytes(range(256)) * 10)[:2000])
        self.run_program("curl", "-q", "-sSf", "-C", "-", "-o", "out", self.url + link)
        self.assertTrue(self.saved()["out"] == bytes(range(256)) * (4 * MIB // 256))

    def test_upload(self) -> None:
        """``curl -F`` sends a file."""
        with open(os.path.join(self.directory_of_clients, "up load.txt"), "wb") as given:
            given.write(b"from outside")
        link = self.make(operation="upload")
        words = ("-q", "-sSf", "-F", "files=@up load.txt", self.url + link)
        answer = json.loads(self.run_program("curl", *words))
        (stored,) = answer["files"]
        self.assertEqual((stored["originalName"], stored["size"]), ("up load.txt", 12))
        name = stored["uri"].rpartition("/")[2]
        self.assertRegex(name, r"\A[0-9a-f]{32}-up_load.txt\Z")
        self.assertEqual(self.content(name), b"from outside")

    def test_command(self) -> None:
        """``chatfiles link`` prints an absolute URL on one line."""
        variables = {"CHATFILES_PLATFORM": self.url, "CHATFILES_TOKEN": self.pair.token}
        words = ["chatfiles", "link", self.pair.id, "/workspace/annual report.pdf"]
        done = run(
            words, cwd=self.directory_of_clients, env=environment(variables), timeout=PATIENCE
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        printed = done.stdout.decode()
        self.pair.hide(printed.rpartition("s=")[2].strip())
        self.assertRegex(printed, r"\Ahttp://127\.0\.0\.1:[0-9]+/links/file\?\S+\n\Z")
        self.run_program("curl", "-q", "-sSfOJ", printed.strip())
        self.assertEqual(self.saved(), {"annual report.pdf": b"%PDF-1.4"})


class OperationTests(LinkCase):
    """What a link does."""

    def test_file(self) -> None:
        """A link serves what a download serves, but for the headers of links."""
        download = fetch(
            self.url, self.pair.download_target(b"path=/workspace/small.bin"), self.pair.bearer
        )
        opened = fetch(self.url, self.make())
        self.assertEqual((opened.status, opened.body), (200, download.body))
        added = {"referrer-policy": "no-referrer", "x-robots-tag": "noindex"}
        changing = {"date", "x-request-id"}
        expected = {name: value for name, value in download.fields if name not in changing} | added
        given = {name: value for name, value in opened.fields if name not in changing}
        self.assertEqual(given, expected)

    def test_odd_name(self) -> None:
        """A file whose name is not UTF-8 is shared by its ref."""
        link = make_link(self.pair, self.url, path=None, ref="/workspace/%FF.txt")
        self.assertEqual(fetch(self.url, link).body, b"odd")

    def test_conditions(self) -> None:
        """Ranges, conditions and versions hold through both hops."""
        link = self.make()
        whole = fetch(self.url, link)
        part = fetch(self.url, link, {"Range": "bytes=1-2"})
        self.assertEqual((part.status, part.body), (206, b"ma"))
        known = fetch(self.url, link, {"If-None-Match": whole["etag"]})
        self.assertEqual((known.status, known.body), (304, b""))
        head = fetch(self.url, link, method="HEAD")
        self.assertEqual((head.status, head["content-length"], head.body), (200, "5", b""))
        self.pair.write("workspace/versioned.bin", b"one")
        target = self.pair.download_target(b"path=/workspace/versioned.bin")
        etag = fetch(self.url, target, self.pair.bearer, method="HEAD")["etag"]
        versioned = self.make(path="/workspace/versioned.bin", version=etag)
        self.assertEqual(fetch(self.url, versioned).body, b"one")
        self.pair.write("workspace/versioned.bin", b"two")
        self.assertEqual(fetch(self.url, versioned).status, 412)

    def test_archive(self) -> None:
        """A link to an archive serves a whole archive."""
        link = self.make(operation="archive", path="/workspace/src")
        answer = fetch(self.url, link)
        self.assertEqual((answer.status, answer["content-type"]), (200, "application/zip"))
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            self.assertIsNone(archive.testzip())
            self.assertIn("src/b/c.txt", archive.namelist())

    def test_upload_limits(self) -> None:
        """More than a link allows is refused with 413, and nothing is left."""
        before = self.names()
        many = form(*(file(b"x", f"{n}.txt") for n in range(3)))
        large = form(file(bytes(100_000)))
        for given, body, text in (
            ({"max_files": 2}, many, "too many files (limit 2)"),
            ({"max_bytes": 50_000}, large, "request body exceeds total limit (50000 bytes)"),
        ):
            link = self.make(operation="upload", **given)
            way = self.way(link)
            self.assert_error(way.send(body), 413, text)
            self.wait_until_all_ended()
            self.assert_nothing_is_left(before)
        link = self.make(operation="upload", max_files=3, max_bytes=len(many))
        self.assert_stored(self.way(link).send(many), [b"x"] * 3)

    def way(self, link: str) -> Any:
        through = next(each for each in self.ways() if each.name == "through")
        return through._replace(target=link, fields={})

    def test_missing(self) -> None:
        """The error of a workspace is JSON for programs, and a page for people."""
        link = self.make(path="/workspace/missing")
        self.assert_error(fetch(self.url, link), 404, "file not found")
        page = fetch(self.url, link, BROWSER)
        self.assertEqual((page.status, page["content-type"]), (404, "text/html; charset=utf-8"))
        self.assertIn(b"<h1>file not found</h1>", page.body)
        self.assertNotIn(b"missing", page.body)

    def test_log(self) -> None:
        """The platform logs the token of a link, and neither role the link."""
        link = self.make()
        token = link.partition("&t=")[2].partition("&")[0]
        fetch(self.url, link, {"X-Request-Id": "link-log"})
        line = rf"link-log {self.pair.id} download 200 5 bytes \S+ s complete from \S+ by link "
        self.pair.platform.logged(line + token)
        self.pair.workspace.logged(r"link-log .* read 200 5 bytes")
        for role in self.pair.roles:
            self.assertNotIn("&s=", role.log)
            self.assertNotIn("small.bin", role.log)


class EndTests(LinkCase):
    """How links end."""

    def test_expiry(self) -> None:
        """A link that has expired opens no more."""
        link = self.make(expires_in=1)
        until(lambda: status_of(self.url, link) == (403, "link_expired"), "it expires")
        page = fetch(self.url, link, BROWSER)
        self.assertIn(b"link has expired", page.body)

    def test_token(self) -> None:
        """A link opens no more when its token is revoked."""
        made = self.as_admin("POST", "tokens", {"scopes": ["read"]}).json
        self.pair.hide(made["token"])
        link = make_link(self.pair, self.url, {"Authorization": f"Bearer {made['token']}"})
        other = self.make()
        self.assertEqual(status_of(self.url, link), (200, ""))
        self.as_admin("DELETE", f"tokens/{made['id']}")
        self.assertEqual(status_of(self.url, link), (403, "link_revoked"))
        self.assertEqual(status_of(self.url, other), (200, ""))

    def test_workspace(self) -> None:
        """All links of a workspace end at once; one that is made right afterwards opens."""
        admin = {"Authorization": f"Bearer {self.pair.admin}"}
        links = [self.make(), make_link(self.pair, self.url, admin)]
        self.assertEqual([status_of(self.url, each)[0] for each in links], [200, 200])
        self.assertEqual(self.as_admin("DELETE", "links").status, 204)
        for each in links:
            self.assertEqual(status_of(self.url, each), (403, "link_revoked"))
        self.assertEqual(status_of(self.url, self.make()), (200, ""))

    def test_keys(self) -> None:
        """Keys that are rotated or revoked in the database take effect in a platform that runs."""
        old = self.make()
        self.keys("rotate")
        until(lambda: self.key_of(self.make()) != self.key_of(old), "rotated", SLACK)
        self.assertEqual(status_of(self.url, old), (200, ""))
        self.keys("revoke", self.key_of(old))
        until(lambda: status_of(self.url, old) == (403, "invalid_link"), "revoked", SLACK)
        self.assertEqual(status_of(self.url, self.make()), (200, ""))

    def keys(self, *words: str) -> None:
        env = environment({"CHATFILES_DATABASE": f"sqlite:{self.pair.database}"})
        done = run(["chatfiles", "keys", *words], cwd="/", env=env, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)

    def key_of(self, link: str) -> str:
        return link.partition("&k=")[2].partition("&")[0]

    def test_restart(self) -> None:
        """A link outlives the process that made it; the links of an old admin token do not."""
        pair = Pair(via="url")  # the platform gets another port
        self.addCleanup(pair.discard)
        pair.write("workspace/small.bin", b"small")
        link = make_link(pair, pair.platform.url)
        admins = make_link(pair, pair.platform.url, {"Authorization": f"Bearer {pair.admin}"})
        self.assertEqual(status_of(pair.platform.url, admins), (200, ""))
        self.restart(pair)
        self.assertEqual(status_of(pair.platform.url, link), (200, ""))
        self.assertEqual(status_of(pair.platform.url, admins), (200, ""))
        with open(os.path.join(pair.state, "admin-token"), "w") as token:
            token.write("another-admin-token-of-this-platform\n")
        self.restart(pair)
        self.assertEqual(status_of(pair.platform.url, link), (200, ""))
        self.assertEqual(status_of(pair.platform.url, admins), (403, "link_revoked"))

    def restart(self, pair: Pair) -> None:
        """Replace the platform by another process."""
        old = pair.platform
        old.signal(signal.SIGTERM)
        old.ended_well()
        pair.platform = Role(
            "platform", f"--state-dir={pair.state}", "--upstream-allow=127.0.0.0/8"
        )
        pair.platform.secrets |= old.secrets
        pair.roles[pair.roles.index(old)] = pair.platform
