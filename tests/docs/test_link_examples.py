"""
The functions of docs/reference/links.rst that verify links, with the vectors.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.docs import ROOT
from tests.docs.link_examples import example
from tests.support.patience import PATIENCE

VECTORS = os.path.join(ROOT, "tests", "vectors", "links.json")

_NODE = """
import { readFileSync } from "node:fs";
import { verify } from "./verify.mjs";
const cases = JSON.parse(readFileSync("cases"));
console.log(JSON.stringify(cases.map((c) =>
  verify(c.operation, c.query, { [c.k]: Buffer.from(c.key, "hex") }, c.now))));
"""

_GO = """
package link

import (
    "encoding/hex"
    "encoding/json"
    "os"
    "testing"
)

func TestVerify(t *testing.T) {
    var cases []struct {
        Operation, Query, K, Key string
        Now int64
    }
    given, _ := os.ReadFile("cases")
    if err := json.Unmarshal(given, &cases); err != nil {
        t.Fatal(err)
    }
    verdicts := []bool{}
    for _, c := range cases {
        key, _ := hex.DecodeString(c.Key)
        keys := map[string][]byte{c.K: key}
        verdicts = append(verdicts, Verify(c.Operation, c.Query, keys, c.Now))
    }
    text, _ := json.Marshal(verdicts)
    os.WriteFile("verdicts", text, 0o600)
}
"""


def cases() -> list[tuple[dict[str, Any], bool]]:
    """:return: links with a key and a time, and whether they are valid."""
    with open(VECTORS, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    found = []
    for row in rows:
        case = {
            "operation": row["operation"],
            "query": row["query"],
            "k": row["k"],
            "key": row["key_hex"],
            "now": int(row["i"]),
        }
        other = {"file": "archive"}.get(row["operation"], "file")
        found += [
            (case, True),
            (case | {"query": row["query"].replace(row["w"], row["w"].upper())}, True),
            (case | {"now": int(row["e"]) - 1}, True),
            (case | {"now": int(row["e"])}, False),
            (case | {"operation": other}, False),
            (case | {"key": "ff" * 32}, False),
            (case | {"k": "00000000"}, False),
            (case | {"query": row["query"] + "&p=/home/x"}, False),
            (case | {"query": row["query"][:-1]}, False),
            (case | {"query": row["query"].replace("&o=", "&x=")}, False),
            (case | {"query": row["query"].replace("&e=17", "&e=18")}, False),
        ]
    return found


class LinkExamplesTests(SynchronousTestCase):
    """Programs in other languages."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="chatfiles-test-")
        self.addCleanup(shutil.rmtree, self.directory)

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    def run_program(self, *command: str) -> str:
        """:return: what a program prints; it finds the cases in a file."""
        self.write("cases", json.dumps([case for case, _ in cases()]))
        if shutil.which(command[0]) is None:
            raise SkipTest(f"{command[0]} is not installed")
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GOFLAGS": "-mod=mod", "GOCACHE": f"{self.directory}/cache"},
            capture_output=True,
            text=True,
            timeout=20 * PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def assert_verdicts(self, text: str) -> None:
        for verdict, (case, is_valid) in zip(json.loads(text), cases(), strict=True):
            self.assertIs(verdict, is_valid, case)

    def test_javascript(self) -> None:
        """Node.js."""
        self.write("verify.mjs", example("JavaScript, Node.js"))
        self.write("main.mjs", _NODE)
        self.assert_verdicts(self.run_program("node", "main.mjs"))

    def test_go(self) -> None:
        """Go."""
        self.write("go.mod", "module example.org/link\n")
        self.write("link.go", example("Go"))
        self.write("link_test.go", _GO)
        self.run_program("go", "test", "./...")
        with open(os.path.join(self.directory, "verdicts"), encoding="utf-8") as file:
            self.assert_verdicts(file.read())
