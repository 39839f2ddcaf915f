"""
The client library against both roles as processes: the same suite for both kinds of client, and the
file system of ``fsspec``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import fsspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, TestCase

from chatfiles.client import (
    AsyncClient,
    Changed,
    Client,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Refused,
    TooLarge,
    Unauthorized,
)
from tests.client.blocking.test_client import Awaited
from tests.contract.client_case import gather
from tests.docs import ROOT
from tests.live.processes import LONG_AGO, SOAK, LiveCase, Pair, environment
from tests.live.test_writes import WritesCase
from tests.support.patience import PATIENCE

DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
ABSTRACT = os.path.join(ROOT, "tests", "support", "fsspec_abstract.py")
ODD = b"odd \xff%;+&=#?\n\\"

if TYPE_CHECKING:
    Base = LiveCase
else:
    Base = object


class ClientCase(WritesCase):
    """Files in ``/workspace/client``, a writable ``/workspace/out``, a limit of 1 MiB."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        """Make the files."""
        shutil.rmtree(pair.at("workspace", "client"), ignore_errors=True)
        pair.write("workspace/client/big.bin", DATA)
        pair.write("workspace/client/sub/a.txt", b"hello world")
        pair.write(b"workspace/client/" + ODD, b"odd")
        os.symlink("sub", pair.at("workspace", "client", "link"))

    def setUp(self) -> None:
        super().setUp()
        self.here = tempfile.mkdtemp(prefix="chatfiles-client-")
        self.addCleanup(shutil.rmtree, self.here)


class Cases(Base):
    """The suite.  `client` is made by subclasses."""

    client: Any
    here: str

    async def fails(self, kind: type[Any], awaitable: Any) -> Any:
        """:return: the error."""
        try:
            await awaitable
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__}")

    async def test_listing(self) -> None:
        """Each entry that one method gives is taken by the others."""
        client, top = self.client, "/workspace/client"
        entries = await gather(client.list(top, page_size=1))
        names = [each.name for each in entries]
        self.assertEqual(names, ["big.bin", "link", os.fsdecode(ODD), "sub"])
        self.assertEqual([each.type for each in entries], ["file", "symlink", "file", "directory"])
        for each in entries:
            self.assertEqual(await client.stat(each.path), each)
        self.assertEqual(await client.read(entries[2].path), b"odd")
        walked = await gather(client.walk(top))
        self.assertEqual(
            {each.path for each in walked} - {each.path for each in entries}, {f"{top}/sub/a.txt"}
        )
        self.assertEqual(entries[0].mtime_ns, LONG_AGO * 10**9)

    async def test_reading(self) -> None:
        """Parts, pieces and conditions."""
        client, path = self.client, "/workspace/client/big.bin"
        self.assertEqual(await client.read(path, 10, 20), DATA[10:20])
        self.assertEqual(await client.read(path, -20), DATA[-20:])
        self.assertEqual(await client.read(path, len(DATA) + 1), b"")
        self.assertEqual(b"".join(await gather(client.stream(path, 1000))), DATA[1000:])
        etag = (await client.stat(path)).etag
        self.assertEqual(await client.read(path, 0, 3, if_match=etag), DATA[:3])
        await self.fails(PreconditionFailed, client.read(path, if_match='"other"'))
        found = await client.digest(path, if_match=etag)
        self.assertEqual((found.sha256, found.size, found.etag), (SHA256, len(DATA), etag))

    async def test_download(self) -> None:
        """A download is cancelled, resumed and verified."""

        class Stop(Exception):
            pass

        def stop(done: int, total: int | None) -> None:
            raise Stop

        client, to = self.client, os.path.join(self.here, "x")
        await self.fails(Stop, client.download("/workspace/client/big.bin", to, progress=stop))
        self.assertEqual(os.listdir(self.here), ["x.part"])
        done = await client.download("/workspace/client/big.bin", to, verify=True)
        self.assertGreater(done.resumed_from, 0)
        self.assertEqual((done.sha256, done.restarted), (SHA256, False))
        with open(to, "rb") as file:  # noqa: ASYNC230
            self.assertEqual(file.read(), DATA)

    async def test_uploads(self) -> None:
        """Forms, paths, and several requests where one is too large."""
        client = self.client
        stored = await client.upload(io.BytesIO(b"abc"), name="ä b.txt")
        self.assertEqual(await client.read(stored.path), b"abc")
        self.assertTrue(stored.uri.endswith(stored.name))
        for to in (None, "/workspace/out/" + os.fsdecode(ODD)):
            stored = await client.upload(io.BytesIO(DATA), to=to)
            self.assertEqual(stored.sha256, SHA256)
            self.assertEqual(await client.read(stored.path), DATA)
            await self.fails(TooLarge, client.upload(io.BytesIO(DATA), to=to, resumable=False))
        stored = await client.upload([DATA[:10]], to="/workspace/out/x", if_absent=True)
        await self.fails(
            PreconditionFailed, client.upload([b"y"], to="/workspace/out/x", if_absent=True)
        )
        await client.upload([b"y"], to="/workspace/out/x", if_match=stored.etag)
        self.assertEqual(await client.read("/workspace/out/x"), b"y")
        empty = await client.upload([], resumable=True, to="/workspace/out/empty")
        self.assertEqual((empty.size, await client.read(empty.path)), (0, b""))

    async def test_changes(self) -> None:
        """Directories are made, files are moved and deleted."""
        client = self.client
        await client.mkdir("/workspace/out/a/b", parents=True)
        await client.upload([b"1"], to="/workspace/out/a/b/f")
        await client.move("/workspace/out/a/b/f", b"/workspace/out/\xff")
        self.assertEqual(await client.read("/workspace/out/\udcff"), b"1")
        await self.fails(Conflict, client.delete("/workspace/out/a", directory=True))
        await client.delete("/workspace/out/a/b", directory=True)
        await client.delete(b"/workspace/out/\xff")
        await self.fails(NotFound, client.stat("/workspace/out/a/b"))
        await self.fails(Forbidden, client.mkdir("/workspace/no"))

    async def test_archive_and_link(self) -> None:
        """An archive has a manifest; a link opens without a token."""
        client = self.client
        manifest = await client.archive("/workspace/client", self.here, format="tar.gz")
        self.assertEqual(manifest.skipped_total, 1)
        self.assertEqual(manifest.skipped[0].path, "/workspace/client/link")
        both = ["/workspace/client/sub", b"/workspace/client/" + ODD]
        manifest = await client.archive(both, os.path.join(self.here, "x.zip"))
        self.assertEqual(
            [each.path for each in manifest.renamed], ["/workspace/client/" + os.fsdecode(ODD)]
        )
        self.assertEqual(sorted(os.listdir(self.here)), ["client.tar.gz", "x.zip"])
        link = await client.link("/workspace/client/sub/a.txt", expires_in=60)
        self.assertTrue(link.startswith(self.pair.platform.url + "/links/file?"))

    async def test_errors(self) -> None:
        """Errors have the platform's code and request id."""
        error = await self.fails(NotFound, self.client.read("/workspace/no"))
        self.assertEqual((error.status, error.code), (404, "file_not_found"))
        self.assertRegex(error.request_id, r"\A[0-9a-f]{32}\Z")
        error = await self.fails(Refused, self.client.stat("/etc/passwd"))
        self.assertEqual((error.status, error.code), (400, "path_outside_roots"))
        await self.fails(Unauthorized, self.make("wrong").stat("/workspace"))

    def make(self, token: str) -> Any:
        """:return: a client with *token*."""
        raise NotImplementedError


class BlockingTests(Cases, ClientCase, TestCase):
    """The client that blocks."""

    def make(self, token: str) -> Any:
        """See `Cases`."""
        client = Client(self.pair.platform.url, token, workspace=self.pair.id)
        self.addCleanup(client.close)
        return Awaited(client)

    def setUp(self) -> None:
        super().setUp()
        self.client = self.make(self.pair.token)


class TwistedTests(Cases, ClientCase, TestCase):
    """The client for Twisted."""

    def make(self, token: str) -> Any:
        """See `Cases`."""
        client = AsyncClient(self.pair.platform.url, token, workspace=self.pair.id, reactor=reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(client.close()))
        return client

    def setUp(self) -> None:
        super().setUp()
        self.client = self.make(self.pair.token)


class FileSystemTests(ClientCase):
    """``fsspec``."""

    def setUp(self) -> None:
        super().setUp()
        self.told = {
            "CHATFILES_PLATFORM": self.pair.platform.url,
            "CHATFILES_TOKEN": self.pair.token,
            "CHATFILES_WORKSPACE": self.pair.id,
        }
        patched = patch.dict(os.environ, self.told)
        patched.start()
        self.addCleanup(patched.stop)
        self.fs = fsspec.filesystem("chatfiles", skip_instance_cache=True)
        self.top: str = f"{self.pair.id}/workspace/client"
        self.more = f"{self.pair.id}/workspace/more"
        os.makedirs(self.pair.at("workspace", "more"), exist_ok=True)
        self.target = f"{self.pair.id}/workspace/out"

    def test_entries(self) -> None:
        """Entries have full names; symlinks are not followed."""
        fs, top = self.fs, self.top
        names = {name.removeprefix(top + "/") for name in fs.ls(top, detail=False)}
        self.assertEqual(names, {"big.bin", "sub", "link", os.fsdecode(ODD)})
        types = {each["name"].rpartition("/")[2]: each["type"] for each in fs.ls(top)}
        self.assertEqual((types["link"], types["sub"]), ("link", "directory"))
        info = fs.info(f"chatfiles://{top}/big.bin")
        self.assertEqual((info["name"], info["size"]), (f"{top}/big.bin", len(DATA)))
        self.assertEqual(info["mtime"].timestamp(), LONG_AGO)
        self.assertEqual(fs.ls(f"{top}/sub/a.txt"), [fs.info(f"{top}/sub/a.txt")])
        self.assertEqual(fs.find(f"{top}/sub"), [f"{top}/sub/a.txt"])
        self.assertEqual(fs.find(f"{top}/sub/a.txt"), [f"{top}/sub/a.txt"])
        self.assertEqual(fs.find(f"{top}/no"), [])
        self.assertEqual(fs.glob(f"{top}/**/*.txt"), [f"{top}/sub/a.txt"])
        walked = list(fs.walk(top))
        self.assertEqual([each[0] for each in walked], [top, f"{top}/sub"])
        self.assertIn(f"{self.pair.id}/workspace", fs.ls(self.pair.id, detail=False))
        kinds = [
            (fs.exists(path), fs.isdir(path), fs.isfile(path))
            for path in (top, f"{top}/big.bin", f"{top}/no", f"{top}/link")
        ]
        self.assertEqual(
            kinds,
            [(True, True, False), (True, False, True), (False, False, False), (True, False, False)],
        )

    def test_content(self) -> None:
        """Parts, as slices."""
        fs, path = self.fs, f"{self.top}/big.bin"
        for start, end in ((None, None), (5, 10), (-5, None), (-10, -5), (5, -5), (None, 7)):
            self.assertEqual(fs.cat_file(path, start, end), DATA[start:end], (start, end))
        self.assertEqual(fs.cat_ranges([path] * 2, [0, 5], [3, 9]), [DATA[:3], DATA[5:9]])
        with fsspec.open(f"chatfiles://{path}", "rb", token=self.pair.token) as file:
            self.assertEqual(file.read(10), DATA[:10])
            file.seek(-10, os.SEEK_END)
            self.assertEqual(file.read(), DATA[-10:])
        with patch("chatfiles.client.fsspec.MEMORY_LIMIT", 1_000_000), fs.open(path) as file:
            self.assertEqual(file.read(), DATA)
        target = os.path.join(self.here, "new", "x")
        fs.get_file(path, target)
        fs.get(self.top + "/sub", os.path.join(self.here, "sub"), recursive=True)
        self.assertEqual(os.listdir(os.path.join(self.here, "sub")), ["a.txt"])
        self.assertEqual(fs.checksum(path), int(SHA256, 16))
        self.assertEqual(fs.modified(path), fs.created(path))
        for chain in ("simplecache", "blockcache"):
            url = f"{chain}::chatfiles://{self.top}/sub/a.txt"
            with fsspec.open(url, **{chain: {"cache_storage": self.here}}) as file:
                self.assertEqual(file.read(), b"hello world")

    def test_one_version(self) -> None:
        """A file that changes while it is open is not mixed."""
        self.pair.write("workspace/more/pinned", bytes(100_000))
        file = self.fs.open(f"{self.more}/pinned", block_size=1000, cache_type="none")
        self.assertEqual(file.read(10), bytes(10))
        before = self.fs.ukey(f"{self.more}/pinned")
        self.pair.write("workspace/more/pinned", b"1" * 100_000)
        self.assertRaises(Changed, file.read, 10)
        self.assertNotEqual(self.fs.ukey(f"{self.more}/pinned"), before)

    def test_young(self) -> None:
        """A file that was modified in this second is read as soon as its validator is strong."""
        with open(self.pair.at("workspace", "more", "young"), "wb") as file:
            file.write(b"young")
        with self.fs.open(f"{self.more}/young") as opened:
            self.assertEqual(opened.read(), b"young")

    def test_changes(self) -> None:
        """Files are written, moved and deleted."""
        fs, out = self.fs, self.target
        fs.pipe_file(f"{out}/a/b/f", b"1")
        self.assertEqual(fs.cat(f"{out}/a/b/f"), b"1")
        self.assertRaises(FileExistsError, fs.pipe_file, f"{out}/a/b/f", b"2", mode="create")
        source = os.path.join(self.here, "source")
        with open(source, "wb") as file:
            file.write(DATA)
        fs.put_file(source, f"{out}/big")
        self.assertEqual(fs.info(f"{out}/big")["size"], len(DATA))
        fs.mkdir(f"{out}/c/d")
        self.assertRaises(FileExistsError, fs.makedirs, f"{out}/c")
        fs.mv(f"{out}/a/b/f", f"{out}/c/d/f")
        fs.rm(f"{out}/a", recursive=True)
        fs.rm(f"{out}/c/d/f")
        fs.rmdir(f"{out}/c/d")
        self.assertEqual(fs.find(out), [f"{out}/big"])
        self.assertRaises(NotImplementedError, fs.open, f"{out}/x", "wb")
        self.assertRaises(FileNotFoundError, fs.open, f"{out}/x")
        self.assertRaises(IsADirectoryError, fs.open, out)

    def test_token(self) -> None:
        """The token is not shown; a file system from the environment can be pickled."""
        self.assertTrue(pickle.loads(pickle.dumps(self.fs)).exists(self.top))
        url, token = self.pair.platform.url, self.pair.token
        for fs in (
            fsspec.filesystem("chatfiles", base_url=url, token=token),
            type(self.fs)(url, token),
        ):
            self.assertTrue(fs.exists(self.top))
            for shown in (repr(fs), fs.to_json(), json.dumps(fs.to_dict())):
                self.assertNotIn(token, shown)
            self.assertRaises(TypeError, pickle.dumps, fs)

    def test_abstract(self) -> None:
        """fsspec's own tests pass: some of them, because each writes many files."""
        if find_spec("pytest") is None:
            raise SkipTest("pytest is not installed: pip install pytest")
        chosen = "" if SOAK else "TestPipe or existing_directory and file_to"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-k",
                chosen,
                ABSTRACT,
            ],
            env={**environment(self.told), "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * PATIENCE if SOAK else PATIENCE,
        )
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_data_frames(self) -> None:
        """pandas, pyarrow and DuckDB read from a workspace."""
        try:
            import duckdb  # noqa: PLC0415
            import pandas as pd  # noqa: PLC0415
            import pyarrow as pa  # noqa: PLC0415
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError as error:
            raise SkipTest(
                f"{error.name} is not installed: pip install pandas pyarrow duckdb"
            ) from error
        table = pa.table({"n": list(range(1000)), "word": ["x"] * 1000})
        name = self.pair.write("workspace/more/t.parquet")
        pq.write_table(table, name.decode())
        self.pair.write("workspace/more/t.csv", b"a,b\n1,2\n")
        url = f"chatfiles://{self.more}/t.parquet"
        self.assertEqual(pd.read_parquet(url)["n"].sum(), 499_500)
        self.assertEqual(list(pd.read_csv(f"chatfiles://{self.more}/t.csv").columns), ["a", "b"])
        self.assertEqual(pq.read_table(f"{self.more}/t.parquet", filesystem=self.fs), table)
        connection = duckdb.connect()
        connection.register_filesystem(self.fs)
        self.assertEqual(connection.sql(f"select sum(n) from '{url}'").fetchall(), [(499_500,)])
