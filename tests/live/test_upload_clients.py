"""
reference/uploads, "Response": uploads with the clients that people use, through both hops.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from urllib.parse import quote

from twisted.trial.unittest import SkipTest

from tests.live.role import ROOT, environment
from tests.live.upload_client import KIB, MIB, UploadCase, Way
from tests.support.patience import PATIENCE

#: Lines that resemble a delimiter; a client of these tests has the boundary ``B``.
NEAR = b"\r\n--Bx\r\n--B--, she wrote\r\n--B\n\n--B\r\n\r\n--B --\r\n--\r\n-- B\r"
#: Name, media type, content.
FILES: list[tuple[str, str | None, bytes]] = [
    ("plain.txt", "text/x-plain", b"plain\n"),
    ("empty.txt", "text/plain", b""),
    ("ü 日😀.tar.gz", "application/gzip", random.Random(1).randbytes(2 * MIB + 7)),
    ('say "hi"; filename=x.md', "text/markdown", NEAR),
    ("back\\slash.csv", "text/csv", b"\r\n"),
    ("100%'s & more.json", "application/json", b"--"),
    (".hidden", "image/svg+xml", b"\r\n--"),
    ("no type.pdf", None, random.Random(2).randbytes(70 * KIB)),
]
#: The media type that a client gives a file if it is told none; the others give none.
DEFAULTS = {
    "node": "application/octet-stream",
    "aiohttp": "application/octet-stream",
    "aiohttp-plain": "application/octet-stream",
}

GUID = "0f3ee13f-2a5d-4f0e-9d6c-7b1d5a3f8c21"
#: Clients that do not run here.  The headers were written by hand, after the source code of these
#: clients; they are not recordings.  Content-Type of the request; headers of a part; the name and
#: the media type that the client means.
WINDOWS: list[tuple[str, list[str], str, str]] = [
    # .NET's HttpClient: MultipartFormDataContent.Add(content, name, fileName).
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Type: text/plain",
            "Content-Disposition: form-data; name=files; filename=notes.txt; "
            "filename*=utf-8''notes.txt",
        ],
        "notes.txt",
        "text/plain",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            'Content-Disposition: form-data; name=files; filename="my notes (1).txt"; '
            "filename*=utf-8''my%20notes%20%281%29.txt",
        ],
        "my notes (1).txt",
        "text/plain",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Type: application/vnd.ms-excel; charset=utf-8",
            "Content-Disposition: form-data; name=files; "
            'filename="=?utf-8?B?w4RybXRlIOKCrC54bHM=?="; '
            "filename*=utf-8''%C3%84rmte%20%E2%82%AC.xls",
        ],
        "Ärmte €.xls",
        "application/vnd.ms-excel",
    ),
    # PowerShell: Invoke-RestMethod -Form.  It has written names as tokens, in quotes, and with
    # filename*.
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Disposition: form-data; name=files; filename=notes.csv",
            "Content-Type: application/octet-stream",
        ],
        "notes.csv",
        "application/octet-stream",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            'Content-Disposition: form-data; name="files"; '
            'filename="=?utf-8?B?w4RybXRlIOKCrC54bHM=?="',
            "Content-Type: application/octet-stream",
        ],
        "Ärmte €.xls",
        "application/octet-stream",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Disposition: form-data; name=files; "
            'filename="=?utf-8?B?w4RybXRlIOKCrC54bHM=?="; '
            "filename*=utf-8''%C3%84rmte%20%E2%82%AC.xls",
            "Content-Type: application/octet-stream",
        ],
        "Ärmte €.xls",
        "application/octet-stream",
    ),
    # RestSharp: before version 107; by default; with DisableFilenameStar = false; with
    # DisableFilenameEncoding = true, whose names .NET sends in ISO-8859-1.
    (
        "multipart/form-data; boundary=-----------------------------28947758029299",
        [
            'Content-Disposition: form-data; name="files"; filename="notes.txt"',
            "Content-Type: text/plain",
        ],
        "notes.txt",
        "text/plain",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Type: application/octet-stream",
            'Content-Disposition: form-data; name="files"; '
            'filename="=?utf-8?B?S29hbGHDhMOWw6TDti5qcGc=?="',
        ],
        "KoalaÄÖäö.jpg",
        "application/octet-stream",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Type: image/jpeg",
            'Content-Disposition: form-data; name="files"; '
            'filename="=?utf-8?B?S29hbGHDhMOWw6TDti5qcGc=?="; '
            "filename*=utf-8''Koala%C3%84%C3%96%C3%A4%C3%B6.jpg",
        ],
        "KoalaÄÖäö.jpg",
        "image/jpeg",
    ),
    (
        f'multipart/form-data; boundary="{GUID}"',
        [
            "Content-Type: image/jpeg",
            'Content-Disposition: form-data; name="files"; filename="KoalaÄÖäö.jpg"',
        ],
        "KoalaÄÖäö.jpg",
        "image/jpeg",
    ),
]


class WindowsTests(UploadCase):
    """Forms as .NET, PowerShell and RestSharp write them."""

    def test_names(self) -> None:
        """Contents, names and media types are stored as these clients mean them."""
        for content_type, headers, name, media_type in WINDOWS:
            boundary = content_type.partition("=")[2].strip('"').encode()
            part = "\r\n".join([*headers, "", ""]).encode("latin-1")
            contents = [NEAR.replace(b"--B", b"--" + boundary), b"", b"last\r\n"]
            parts = [b"--%b\r\n%b%b\r\n" % (boundary, part, each) for each in contents]
            body = b"".join(parts) + b"--%b--\r\n" % boundary
            for way in self.ways():
                answer = way.send(body, {"Content-Type": content_type})
                self.assert_stored(answer, contents)
                for entry in answer.json["files"]:
                    self.assertEqual(entry["originalName"], name, headers)
                    self.assertEqual(entry["mimeType"], media_type, headers)
                    extension = name.rpartition(".")[2]
                    self.assertTrue(entry["uri"].endswith("." + extension), headers)


class ClientTests(UploadCase):
    """Clients with odd names, empty files, and contents that resemble a delimiter."""

    def setUp(self) -> None:
        super().setUp()
        self.files = []
        for n, (name, media_type, content) in enumerate(FILES):
            path = self.pair.write(f"sent/client-{n}", content)
            self.files.append((os.fsdecode(path), name, media_type))

    def run_program(self, *words: str, data: bytes = b"") -> bytes:
        """:return: what a program writes to standard output."""
        if shutil.which(words[0]) is None:
            raise SkipTest(f"{words[0]} is not installed")
        env = {name: v for name, v in environment().items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            words, input=data, capture_output=True, cwd=ROOT, env=env, timeout=PATIENCE, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout

    def job(self, way: Way) -> bytes:
        """:return: what the programs in this directory read."""
        job = {
            "url": way.url + way.target,
            "authorization": way.fields["Authorization"],
            "files": self.files,
        }
        return json.dumps(job).encode()

    def check(self, client: str, status: int, body: bytes | str) -> None:
        """Each file is stored byte for byte, in its order, with its name and media type."""
        self.assertEqual(status, 200, body)
        entries = json.loads(body)["files"]
        self.assertEqual(len(entries), len(FILES))
        for entry, (name, media_type, content) in zip(entries, FILES, strict=True):
            about = f"{client}: {name}"
            stored = entry["uri"].rpartition("/")[2]
            self.assertTrue(self.content(stored) == content, about)
            # Percent-encoding is decoded only as far as browsers use it.
            arrives = quote(name).replace("%22", '"') if client == "aiohttp" else name
            self.assertEqual(entry["originalName"], arrives, about)
            self.assertTrue(stored.endswith("-" + entry["name"]), about)
            default = DEFAULTS.get(client, "application/pdf")
            self.assertEqual(entry["mimeType"], media_type or default, about)

    def send(self, client: str, *command: str) -> None:
        """Upload through both ways with a program that reads a job."""
        for way in self.ways():
            response = json.loads(self.run_program(*command, data=self.job(way)))
            self.check(client, response["status"], response["body"])

    def send_with_python(self, client: str) -> None:
        """Upload with a client of ``senders``."""
        self.send(client, sys.executable, os.path.join(ROOT, "tests/live/senders.py"), client)

    def test_requests(self) -> None:
        """requests, which gives no media types."""
        self.send_with_python("requests")

    def test_httpx(self) -> None:
        """httpx, which streams the files."""
        self.send_with_python("httpx")

    def test_httpx_boundary(self) -> None:
        """httpx with a boundary that begins lines of a content."""
        self.send_with_python("httpx-boundary")

    def test_aiohttp(self) -> None:
        """aiohttp, which percent-encodes names; they are kept as they were sent."""
        self.send_with_python("aiohttp")

    def test_aiohttp_plain(self) -> None:
        """aiohttp without percent-encoding."""
        self.send_with_python("aiohttp-plain")

    def test_node(self) -> None:
        """Node's ``fetch`` and ``FormData``."""
        self.send("node", "node", os.path.join(ROOT, "tests", "live", "sender.mjs"))

    def test_curl(self) -> None:
        """``curl -F``, also with backslashes in place of percent-encoding."""
        words = []
        for path, name, media_type in self.files:
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            kind = f";type={media_type}" if media_type else ""
            words.append(f'-Ffiles=@{path}{kind};filename="{quoted}"')
        for way in self.ways():
            for more in ([], ["--form-escape"], ["-H", "Transfer-Encoding: chunked"]):
                header = f"Authorization: {way.fields['Authorization']}"
                body = self.run_program(
                    "curl", "-q", "-sS", "-H", header, *more, *words, way.url + way.target
                )
                self.check("curl", 200, body)
