"""
A client of tus that others have written uploads through nginx and two platforms, over a line that
breaks (reference/resumable).
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from io import BytesIO

from requests.exceptions import ConnectionError as Disconnected
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from tests.live.balancer import Balancer
from tests.live.processes import SOAK, LiveCase, Pair, Role
from tests.support.patience import PATIENCE

#: Bytes of the file, and how often its connection breaks.
SIZE, CUTS = (64 << 20, 10) if SOAK else (6 << 20, 4)


class BreakingLine:
    """
    A proxy that closes its first connections after some bytes of the client.

    :param url: of the server behind it.
    :param cuts: how many connections are closed.
    :param after: the bytes after which each of them is closed.
    """

    def __init__(self, url: str, cuts: int, after: int) -> None:
        self._behind = ("127.0.0.1", int(url.rpartition(":")[2].rstrip("/")))
        self.cuts, self._after = cuts, after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._behind, PATIENCE)
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if counts and passed > self._after and self.cuts > 0:
                    self.cuts -= 1
                    break
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()  # a client that still sends gets a reset


class TuspyTests(LiveCase):
    """tuspy, which sends a checksum with each chunk."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--max-resumable-bytes=128M"])

    def test_upload(self) -> None:
        """A file is complete, although the line breaks in the middle of its chunks."""
        pair = self.pair
        database = f"--database=sqlite:{pair.database}"
        second = Role(
            "platform",
            "--listen=tcp:0:interface=127.0.0.1",
            f"--state-dir={os.path.dirname(pair.database)}",
            database,
            "--upstream-allow=127.0.0.0/8",
        )
        self.addCleanup(second.stop)
        nodes = [f"127.0.0.1:{role.port}" for role in (pair.platform, second)]
        balancer = Balancer("nginx", nodes)
        self.addCleanup(balancer.stop)
        line = BreakingLine(balancer.url, CUTS, SIZE // CUTS // 3)
        self.addCleanup(line.close)
        content = random.Random(3).randbytes(SIZE)
        client = TusClient(f"{line.url}/workspaces/{pair.id}/uploads", dict(pair.bearer))
        uploader = client.uploader(
            file_stream=BytesIO(content),
            chunk_size=SIZE // CUTS,
            upload_checksum=True,
            metadata={"filename": "a b.bin"},
        )
        for _ in range(2 * CUTS + 2):
            try:
                uploader.upload()
                break
            except (TusCommunicationError, TusUploadFailed, Disconnected):
                uploader.offset = uploader.get_offset()
        self.assertEqual(line.cuts, 0)
        names = os.listdir(pair.at("workspace", ".molecule", "chat-uploads"))
        (name,) = [each for each in names if each.endswith("-a_b.bin")]
        with open(pair.at("workspace", ".molecule", "chat-uploads", name), "rb") as file:
            self.assertTrue(file.read() == content)
