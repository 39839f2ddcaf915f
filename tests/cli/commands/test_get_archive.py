"""
``chatfiles get --archive``: the archive that is saved, and what is reported of it.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
import zipfile
from typing import Any

from click.testing import Result

from chatfiles.cli.transfers.archive.transfer import archive_name
from tests.cli.cli_stub import WORKSPACE, StubCase, answer, counted, said

ROUTE = f"/workspaces/{WORKSPACE}/fs/archive"
CONTENT = b"content" * 1000


def manifest(*skipped: tuple[str, str], more: int = 0, members: int = 2) -> dict[str, Any]:
    """:return: a manifest that lists *skipped*, and says that there are *more*."""
    listed = [{"ref": ref, "reason": reason} for ref, reason in skipped]
    total = len(listed) + more
    return {"format": 1, "members": members, "skipped": listed, "skipped_total": total}


def packed(form: str, member: object) -> bytes:
    """:return: an archive with a file, a directory, and *member* as its manifest."""
    members = {
        "d/": b"",
        "d/f": CONTENT,
        "chatfiles-manifest.json": json.dumps(member).encode(),
    }
    file = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        mode: Any = "w:gz" if form == "tar.gz" else "w:"
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.GNU_FORMAT) as packing:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                info.size = len(content)
                packing.addfile(info, io.BytesIO(content))
    return file.getvalue()


def sent(body: bytes, *headers: str, whole: bool = True) -> bytes:
    """:return: the response with an archive; without its last chunk unless it is *whole*."""
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    end = b"0\r\n\r\n" if whole else b""
    return answer("200 OK", "Transfer-Encoding: chunked", *headers, body=chunk + end)


class ArchiveCase(StubCase):
    def archive(self, form: str, *words: str) -> Result:
        """Run ``chatfiles get --archive`` with the test's token."""
        return self.invoke("get", "--token-file", "token", "--archive", form, WORKSPACE, *words)


class SavedTests(ArchiveCase):
    """A complete archive is saved."""

    def test_forms(self) -> None:
        """Each form is asked for by its name, and named after PATH."""
        for form in ("zip", "tar", "tar.gz"):
            body = packed(form, manifest())
            self.play(sent(body))
            result = self.archive(form, "/workspace/a b/d/")
            self.ended(result, 0)
            self.assertEqual(result.stderr, "")
            self.assertEqual(self.read(f"d.{form}"), body)
            target = f"{ROUTE}?path=/workspace/a%20b/d&format={form}"
            self.assertEqual((self.asked[-1].method, self.asked[-1].target), ("GET", target))
        self.assertEqual(self.files(), ["d.tar", "d.tar.gz", "d.zip"])

    def test_several(self) -> None:
        """Several paths are sent as references, which keep their bytes."""
        self.play(sent(packed("zip", manifest())))
        self.ended(self.archive("zip", "/workspace/d/a", "/workspace/d/b\udcff"), 0)
        [asked] = self.asked
        self.assertEqual((asked.method, asked.target), ("POST", ROUTE))
        self.assertEqual(asked.headers["Content-Type"], "application/json")
        references = [{"ref": "/workspace/d/a"}, {"ref": "/workspace/d/b%FF"}]
        self.assertEqual(asked.json, {"paths": references, "format": "zip"})
        self.assertEqual(self.files(), ["d.zip"])

    def test_names(self) -> None:
        """The name is that of the only path, or of the deepest directory that holds all."""
        for paths, name in (
            ([b"/workspace"], "workspace.tar"),
            ([b"/workspace/a", b"/workspace/b"], "workspace.tar"),
            ([b"/workspace/a", b"/workspace/a/b"], "a.tar"),
            ([b"/workspace/a", b"/home/a"], "files.tar"),
            ([b"/workspace/a\x1b"], "a_.tar"),
            ([b"/"], None),
            ([b"/workspace", b"home"], None),
        ):
            self.assertEqual(archive_name(paths, "tar"), name)
        self.ended(self.archive("zip", "/"), 2, "PATH does not end in the name")
        self.assertEqual(self.asked, [])

    def test_output(self) -> None:
        """``-o`` names a file or a directory; an existing file is replaced with ``-f`` only."""
        body = packed("zip", manifest())
        os.mkdir(self.path("dir"))
        self.play(sent(body), sent(body), sent(body))
        self.ended(self.archive("zip", "/workspace/d", "-o", "x"), 0)
        self.ended(self.archive("zip", "/workspace/d", "-o", "dir"), 0)
        self.assertEqual((self.read("x"), self.read("dir/d.zip")), (body, body))
        self.ended(self.archive("zip", "/workspace/d", "-o", "x"), 8, "x exists")
        self.ended(self.archive("zip", "/workspace/d", "-o", "x", "-f"), 0)

    def test_standard_output(self) -> None:
        """``-o -`` streams; what was skipped is printed as for a file."""
        for form in ("zip", "tar", "tar.gz"):
            body = packed(form, manifest(("/workspace/d/l", "symlink")))
            self.play(sent(body))
            result = self.archive(form, "/workspace/d", "-o", "-")
            self.ended(result, 0)
            self.assertEqual(result.stderr, "skipped /workspace/d/l (symlink)\n")
            self.assertEqual(result.stdout_bytes, body)

    def test_standard_output_lacking(self) -> None:
        """The status says that an archive on standard output lacks files."""
        for form in ("zip", "tar", "tar.gz"):
            body = packed(form, manifest(("/workspace/d/f", "changing")))
            for words in ([], ["-q"]):
                self.play(sent(body))
                result = self.archive(form, "/workspace/d", "-o", "-", *words)
                self.ended(result, 7, "the archive lacks 1 file or directory: changing 1")
                self.assertEqual(result.stdout_bytes, body)

    def test_standard_output_malformed(self) -> None:
        """An archive on standard output that cannot be read passes whole, with status 7."""
        for form in ("zip", "tar", "tar.gz"):
            whole = packed(form, manifest())
            half = whole[: len(whole) // 2]
            bare = packed(form, manifest()).replace(b"manifest.json", b"manifest.jsom")
            bodies = [b"", b"x" * 2000, b"x" * 300_000, half, packed(form, {"skipped": 1})]
            for body in bodies if form == "tar.gz" else [*bodies, bare]:
                self.play(sent(body))
                result = self.archive(form, "/workspace/d", "-o", "-")
                self.ended(result, 7, "has no manifest")
                self.assertEqual(result.stdout_bytes, body)
            self.play(sent(packed(form, manifest(members=3))))
            result = self.archive(form, "/workspace/d", "-o", "-")
            self.ended(result, 7, "the archive has 2 members, its manifest says 3")

    def test_standard_output_cut(self) -> None:
        """An archive on standard output that was interrupted is reported as that."""
        for form in ("zip", "tar", "tar.gz"):
            body = packed(form, manifest())
            for end in (1, 10, 100, len(body) // 2, len(body) - 10, len(body)):
                self.play(sent(body[:end], whole=False))
                result = self.archive(form, "/workspace/d", "-o", "-")
                self.ended(result, 7, "was interrupted")

    def test_skipped(self) -> None:
        """What was skipped is printed with its reference, and escaped."""
        member = manifest(("/workspace/d/l%FF", "symlink"), ("/\x1b[2J", "special"), more=7)
        self.play(sent(packed("zip", member)), sent(packed("zip", member)))
        result = self.archive("zip", "/workspace/d")
        self.ended(result, 0)
        self.assertEqual(
            result.stderr,
            "skipped /workspace/d/l%FF (symlink)\nskipped /\\x1b[2J (special)\n"
            "skipped 7 more, which the manifest does not list\n",
        )
        self.assertEqual(self.archive("zip", "/workspace/d", "-f", "-q").stderr, "")

    def test_lacking(self) -> None:
        """
        A file that is missing for another reason gives a status, and is printed also with ``-q``.
        """
        cases = (("permission_denied", 4), ("too_long", 5), ("vanished", 7), ("\x1b[2J", 7))
        for reason, status in cases:
            member = manifest(("/workspace/d/l", "symlink"), ("/workspace/d/f", reason))
            self.play(*[sent(packed("tar", member))] * 2)
            shown = reason.replace("\x1b", "\\x1b")
            line = f"skipped /workspace/d/f ({shown})\n"
            text = f"chatfiles: d.tar lacks 1 file or directory: {shown} 1\n"
            for words in (["-f"], ["-f", "-q"]):
                result = self.archive("tar", "/workspace/d", *words)
                self.ended(result, status, line, text)
                self.assertEqual("symlink" in result.stderr, words == ["-f"])
            self.assertEqual(self.files(), ["d.tar"])

    def test_lacking_several(self) -> None:
        """The status is the highest of those of the files; the reasons are counted."""
        reasons = ("permission_denied", "changing", "permission_denied", "symlink")
        member = manifest(*(("/workspace/d/f", reason) for reason in reasons))
        self.play(sent(packed("zip", member)))
        text = "d.zip lacks 3 files or directories: changing 1, permission_denied 2"
        self.ended(self.archive("zip", "/workspace/d"), 7, text, "get them one by one")

    def test_lacking_unnamed(self) -> None:
        """What is counted by its reason is reported, also if it is not in the list."""
        member = manifest(("/workspace/d/l", "symlink"), more=1500)
        member["skipped_by_reason"] = {"symlink": 1, "changing": 1500}
        for words in ([], ["-f", "-q"]):
            self.play(sent(packed("zip", member)))
            text = "d.zip lacks 1500 files or directories: changing 1500"
            self.ended(self.archive("zip", "/workspace/d", *words), 7, text)

    def test_malformed_counts(self) -> None:
        """A manifest whose counts are malformed cannot be read."""
        cases: list[Any] = [[], {"changing": "1"}, {"changing": -1}, {"changing": True}]
        for counts in cases:
            member = manifest() | {"skipped_by_reason": counts}
            self.play(sent(packed("zip", member)))
            result = self.archive("zip", "/workspace/d")
            self.ended(result, 7, "the archive has no manifest that can be read")

    def test_changing(self) -> None:
        """The archive is saved, and the status says that files are missing that were changing."""
        member = manifest(("/workspace/d/log", "changing"), ("/workspace/d/l", "symlink"))
        self.play(sent(packed("zip", member)))
        result = self.archive("zip", "/workspace/d")
        self.ended(result, 7, "skipped /workspace/d/log (changing)", "directory: changing 1")
        self.assertEqual(self.files(), ["d.zip"])


class RefusedTests(ArchiveCase):
    """No file is left."""

    def refused(self, wire: bytes, status: int, *texts: str, form: str = "zip") -> None:
        self.play(wire)
        self.ended(self.archive(form, "/workspace/d"), status, *texts)
        self.assertEqual(self.files(), [])

    def test_cut(self) -> None:
        """An archive that is interrupted anywhere is not saved."""
        for form in ("zip", "tar", "tar.gz"):
            body = packed(form, manifest())
            self.refused(sent(body, whole=False), 7, "was interrupted", form=form)
            self.play(sent(body, whole=False))
            hint = "--archive zip leaves it out" in self.archive(form, "/workspace/d").stderr
            self.assertEqual(hint, form != "zip")
        wire = sent(body)
        for end in range(len(wire) // 2, len(wire), 100):
            self.refused(wire[:end], 7, "was interrupted", form=form)

    def test_no_manifest(self) -> None:
        """Bytes that are no archive, or one without a manifest, are not saved."""
        for form in ("zip", "tar", "tar.gz"):
            whole = packed(form, manifest())
            for body in (b"", b"x" * 2000, whole[: len(whole) // 2], packed(form, {"skipped": 1})):
                self.refused(sent(body), 7, "has no manifest", form=form)

    def test_other_members(self) -> None:
        """An archive with other members than its manifest counts is not kept."""
        for form in ("zip", "tar", "tar.gz"):
            for members in (1, 3):
                self.play(sent(packed(form, manifest(members=members))))
                result = self.archive(form, "/workspace/d")
                self.ended(result, 7, f"the archive has 2 members, its manifest says {members}")
        self.assertEqual(self.files(), [])

    def test_errors(self) -> None:
        """Errors have their statuses and hints; those with numbers show them."""
        for entries, size, limit, text in (
            (2001, 335_559_522, 2000, "more than 2000 files and directories"),
            (5, 1001, 1000, "more than 1000 bytes in files"),
            (70, 5000, 64, "more than 64 levels of directories"),
            (7, 5, 1000, "entries 7, bytes 5, limit 1000"),
        ):
            detail = {"entries": entries, "bytes": size, "limit": limit}
            large = {"error": "archive too large", "code": "archive_too_large", "detail": detail}
            self.refused(said("413 X", large), 5, f"archive too large: {text} (arch", "with -r")
        error = {"error": "too many archives at once", "code": "too_many_archives"}
        self.refused(said("503 X", error, "Retry-After: 5"), 6, "try again in 5 seconds")
        error = {"error": "x", "code": "operation_unsupported"}
        self.refused(said("501 X", error), 5, "the workspace is older")
        self.refused(counted(b"x", "Content-Encoding: gzip"), 7, "it is encoded")

    def test_retries(self) -> None:
        """Only ``--retries`` starts an archive again, from its start."""
        self.patch(time, "sleep", lambda _: None)
        body = packed("zip", manifest())
        self.play(sent(body, whole=False), said("503 X", {"error": "x"}), sent(body))
        self.ended(self.archive("zip", "/workspace/d", "--retries", "2"), 0, "trying again in 1 s")
        self.assertEqual(self.read("d.zip"), body)

    def test_words(self) -> None:
        """Words that do not fit are refused before a request."""
        self.ended(self.archive("rar", "/workspace/d"), 2, "'rar' is not one of 'zip', 'tar'")
        self.ended(self.archive("zip", "/workspace/d", "--verify"), 2, "--verify is not for")
        self.ended(self.get("/workspace/d", "/workspace/e"), 2, "several PATHs need --archive")
        self.assertEqual(self.asked, [])
