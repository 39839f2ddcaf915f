"""
schemathesis sends requests that it makes from the OpenAPI document to running roles, and compares
the responses with the document.

Each operation gets the cases that its parameters and body suggest, which are the same in each run.
``OPENAPI_EXAMPLES=50`` adds as many random ones for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tests.live.processes import LiveCase, Pair
from tests.live.rawhttp import fetch
from tests.live.role import ROOT
from tests.openapi.document import Seen

#: Seconds; far above what a run takes, for machines that are starved.
MOST = 600
#: Not whether the document describes everything that is refused: the order of bytes in a digest,
#: or a segment ``..``, are rules that no schema has.
CHECKS = (
    "documented,no_other_members,not_a_server_error,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method,"
    "allow_header_conformance"
)
#: TRACE is 501 for all servers (reference/errors, "Statuses").
SETTINGS = """
[phases.coverage]
unexpected-methods = ["DELETE", "PATCH", "POST", "PUT", "QUERY"]
"""


class SchemathesisCase(LiveCase):
    """Responses to what schemathesis sends."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--writable=/workspace/out"])

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello\n")
        pair.write("workspace/out/b.txt", b"hello\n")

    def run_schemathesis(
        self, token: str, parameters: str, *tags: str, more: str = "", checks: str = CHECKS
    ) -> None:
        """
        :param parameters: values that all requests have, as lines of TOML.
        :param tags: of the operations.
        :param more: further settings, as TOML.
        :param checks: names, with commas between them.
        """
        with tempfile.TemporaryDirectory() as directory:
            settings = Path(directory, "schemathesis.toml")
            settings.write_text(f"{SETTINGS}\n[parameters]\n{parameters}\n{more}")
            random = os.environ.get("OPENAPI_EXAMPLES")
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli"),
                    *("--config-file", str(settings), "--no-color"),
                    *("run", f"{self.pair.platform.url}/openapi.json"),
                    *("--header", f"Authorization: Bearer {token}"),
                    *(f"--include-tag={tag}" for tag in tags),
                    f"--phases=coverage{',fuzzing' if random else ''}",
                    *("--max-examples", random or "1", "--seed=1", "--no-shrink"),
                    *("--checks", checks, "--continue-on-failure", "--warnings=off"),
                ],
                cwd=directory,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=MOST,
                check=False,
            )
        self.assertEqual(done.returncode, 0, done.stdout[-20_000:] + done.stderr[-2000:])
        self.assertIn("No issues found", done.stdout)


class FilesTests(SchemathesisCase):
    """With a token of one workspace."""

    def test_files(self) -> None:
        """Operations on files and uploads, with a token of the workspace."""
        tags = ("files", "writes", "uploads", "service")
        self.run_schemathesis(self.pair.token, f'"path.id" = "{self.pair.id}"', *tags)

    def test_links(self) -> None:
        """
        Links are made, and one that is valid is opened with random headers.  A link is checked
        before the method.
        """
        fields = {"Authorization": f"Bearer {self.pair.token}"}
        body = json.dumps({"path": "/workspace/a.txt"}).encode()
        target = f"/workspaces/{self.pair.id}/links"
        answer = fetch(self.pair.platform.url, target, fields, method="POST", body=body)
        link = dict(parse_qsl(urlsplit(answer.json["url"]).query, keep_blank_values=True))
        given = "".join(f'"query.{name}" = "{value}"\n' for name, value in link.items())
        more = f'[[operations]]\ninclude-path = "/links/file"\n[operations.parameters]\n{given}'
        checks = CHECKS.replace("unsupported_method,", "")
        own = f'"path.id" = "{self.pair.id}"'
        self.run_schemathesis(self.pair.token, own, "links", more=more, checks=checks)


class AdministrationTests(SchemathesisCase):
    """With the admin token.  Workspaces are removed, and their secrets rotated."""

    @classmethod
    def make_pair(cls) -> Pair:  # not that of other tests
        return Pair()

    def test_administration(self) -> None:
        """Operations on workspaces and tokens, and those of agents, with the admin token."""
        self.run_schemathesis(self.pair.admin, "", "administration", "agents")


class RecordTests(LiveCase):
    """What a platform notes of its responses."""

    def test_noted(self) -> None:
        """The method, path, status and code, also of an error that the workspace has sent."""
        self.pair.write("workspace/a.txt", b"hello\n")
        self.pair.file("/workspace/a.txt")
        self.pair.file("/workspace/none")
        self.pair.get("path=/workspace/none", method="HEAD")
        self.pair.as_admin("GET", "/workspaces?limit=0")
        path = f"/workspaces/{self.pair.id}/chat/download"
        wanted = [
            Seen("GET", path, 200),
            Seen("GET", path, 404, "file_not_found"),
            Seen("GET", "/workspaces", 400, "invalid_limit"),
        ]
        noted = self.pair.platform.responses
        self.assertEqual([each for each in wanted if each not in noted], [])
        self.assertIn((path, 404), {(each.path, each.status) for each in noted})
        self.assertEqual(len(set(noted)), len(noted))


def _environment() -> Mapping[str, str]:
    hooks = {"PYTHONPATH": ROOT, "SCHEMATHESIS_HOOKS": "tests.openapi.hooks"}
    return os.environ | hooks
