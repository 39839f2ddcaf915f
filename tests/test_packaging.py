"""
What is built and installed: the wheel, an editable install, the setup scripts.

No test contacts a package index.  The environments are new; Twisted is copied into them, because
our plugin is installed into its directory, and its dependencies are those of this interpreter.
"""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from email.message import Message
from email.parser import Parser
from functools import cache
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import chatfiles
import twisted

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
LISTED = re.compile(r"^ +chatfiles +\S", re.MULTILINE)
TWISTD = "from twisted.scripts.twistd import run; run()"
UNBUILT = shutil.ignore_patterns("__pycache__", "*.pyc", "dropin.cache", "*.egg-info")
#: Twisted's own tests are half of it, and are not needed here.
UNNEEDED = shutil.ignore_patterns("test", "dropin.cache", "chatfiles_*.py")


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    """:return: what *command* printed to both streams; it must succeed."""
    return expect(0, command, cwd, **environment)


def expect(status: int, command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    """:return: what *command* printed to both streams; it must exit with *status*."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CHATFILES_"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != status:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def isolation() -> list[str]:
    """:return: options for pip's build: use the installed setuptools if it is recent enough."""
    return ["--no-build-isolation"] if int(version("setuptools").split(".")[0]) >= 77 else []


def copy_sources(target: Path) -> None:
    """Copy what a build reads, and what it must leave out; add a data file that no option names."""
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, target / name)
    for name in ("chatfiles", "twisted", "tests"):
        shutil.copytree(ROOT / name, target / name, ignore=UNBUILT)
    planted = target / "chatfiles" / "platform" / "registry" / "schema" / "planted"
    planted.mkdir(parents=True)
    (planted / "1.sql").write_text("select 1;\n")


def files_under(top: Path) -> set[str]:
    """:return: the relative names of the files that are not caches."""
    names = (path.relative_to(top) for path in top.rglob("*") if path.is_file())
    return {
        str(name) for name in names if "__pycache__" not in name.parts and name.suffix != ".cache"
    }


#: What Twisted finds in its own package.
PLUGINS = {f"twisted/plugins/chatfiles_{name}.py" for name in ("plugin", "endpoints")}


class Environment:
    """A new virtual environment with Twisted, and with nothing of this checkout."""

    def __init__(self, top: Path) -> None:
        venv.EnvBuilder(symlinks=True).create(top)
        self.top = top
        self.python = top / "bin" / "python"
        (self.site_packages,) = (top / "lib").glob("python3*/site-packages")
        self.twisted = self.site_packages / "twisted"
        shutil.copytree(twisted.__path__[0], self.twisted, ignore=UNNEEDED)
        here = [p for p in sys.path if Path(p).name in {"site-packages", "dist-packages"}]
        (self.site_packages / "dependencies.pth").write_text("\n".join(here))

    def pip(self, *arguments: str | Path) -> None:
        """Run pip for this environment, without an index."""
        run([*PIP, "--python", str(self.python), *arguments], self.top, PIP_NO_INDEX="1")

    def twistd_help(self, *command: str) -> str:
        """:return: what ``twistd --help`` prints, outside of the checkout and without its path."""
        return run([self.python, "-I", "-c", TWISTD, *command, "--help"], self.top)

    def origin(self, module: str) -> Path:
        """:return: the file that *module* is imported from."""
        code = f"import {module}; print({module}.__file__)"
        return Path(run([self.python, "-I", "-c", code], self.top).strip())


@cache
def sources() -> Path:
    """:return: a copy of the sources, in a directory to work in, below trial's own."""
    if importlib.util.find_spec("pip") is None:
        raise SkipTest("there is no pip in this environment")
    copy = Path(tempfile.mkdtemp(prefix="packaging-", dir=Path.cwd())) / "sources"
    copy.mkdir()
    copy_sources(copy)
    return copy


@cache
def wheel() -> Path:
    """:return: what `pip` builds from the sources."""
    out = sources().parent / "out"
    run([*PIP, "wheel", "--no-deps", *isolation(), "-w", out, sources()], out.parent)
    (built,) = out.iterdir()
    return built


class BuiltTests(SynchronousTestCase):
    """What `pip` builds from the checkout."""

    def metadata(self) -> Message:
        """:return: the wheel's METADATA."""
        with ZipFile(wheel()) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            return Parser().parsestr(archive.read(name).decode("utf-8"))

    def test_files(self) -> None:
        """
        The wheel has every module and data file, and neither the tests nor an ``__init__.py`` that
        hides Twisted's own.
        """
        with ZipFile(wheel()) as archive:
            held = {name for name in archive.namelist() if ".dist-info/" not in name}
        expected = {f"chatfiles/{name}" for name in files_under(sources() / "chatfiles")}
        self.assertIn("chatfiles/platform/registry/schema/planted/1.sql", expected)
        self.assertIn("chatfiles/py.typed", expected)
        self.assertEqual(held, expected | PLUGINS)

    def test_metadata(self) -> None:
        """The metadata has our version, the oldest Python that is supported, and the extras."""
        metadata = self.metadata()
        self.assertEqual(metadata["Version"], chatfiles.__version__)
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        extras = ["fsspec", "metrics", "postgres", "test", "dev"]
        self.assertEqual(metadata.get_all("Provides-Extra"), extras)

    def test_lower_bounds(self) -> None:
        """`tox -e lowest` tests the lowest versions that the metadata declares."""
        tox = configparser.ConfigParser()
        tox.read(ROOT / "tox.ini")
        tested = set(tox["testenv:lowest"]["deps"].replace("==", ">=").split())
        required = [r.split(";") for r in self.metadata().get_all("Requires-Dist", [])]
        self.assertEqual(tested, {name for name, *marker in required if "dev" not in str(marker)})

    def test_install_and_uninstall(self) -> None:
        """
        After an install from the wheel `twistd` lists our plugin; after an uninstall Twisted is as
        it was before.
        """
        installed = Environment(sources().parent / "installed")
        before = files_under(installed.twisted)
        self.assertNotRegex(installed.twistd_help(), LISTED)

        installed.pip("install", "--no-compile", "--no-deps", "--ignore-installed", wheel())
        self.assertRegex(installed.twistd_help(), LISTED)
        self.assertEqual(installed.origin("chatfiles").parent.parent, installed.site_packages)
        self.assertEqual(installed.origin("twisted").parent, installed.twisted)
        self.assertIn("--role", installed.twistd_help("chatfiles"))
        script = installed.top / "bin" / "chatfiles"
        self.assertIn(chatfiles.__version__, run([script, "--version"], installed.top))

        installed.pip("uninstall", "--yes", "chatfiles")
        self.assertEqual(files_under(installed.twisted), before)
        self.assertNotRegex(installed.twistd_help(), LISTED)

    def test_editable(self) -> None:
        """
        After ``pip install -e`` `twistd` lists our plugin, and Twisted is not imported from our
        ``twisted`` directory.
        """
        if not isolation():
            raise SkipTest("needs the extra `test`: setuptools>=77.0.3")
        editable = Environment(sources().parent / "editable")
        options = ("--no-compile", "--no-deps", "--ignore-installed", "--no-build-isolation")
        editable.pip("install", *options, "--editable", sources())
        self.assertRegex(editable.twistd_help(), LISTED)
        self.assertEqual(editable.origin("chatfiles").parent.parent, sources())
        self.assertEqual(editable.origin("twisted").parent, editable.twisted)


class ScriptTests(SynchronousTestCase):
    """The two commands that the README begins with, where they cannot work."""

    def fake_python(self, body: str) -> str:
        """:return: the path of a program to use in place of Python."""
        path = Path(self.mktemp())
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path.resolve())

    def refusal(self, script: str, python: str) -> str:
        """:return: what the script prints when it refuses this Python."""
        elsewhere = str(Path(self.mktemp()).resolve())
        printed = expect(1, [ROOT / "bin" / script], ROOT, PYTHON=python, CHATFILES_VENV=elsewhere)
        self.assertFalse(Path(elsewhere).exists())
        return printed

    def test_old_python(self) -> None:
        """With an old Python the scripts name the version that is needed, without a traceback."""
        old = self.fake_python(
            '[ "$1" != --version ] || exec echo Python 3.10.13\n'
            f"exec '{sys.executable}' -c "
            "'import sys; sys.version_info = (3, 10, 13); exec(sys.argv[2])' \"$@\""
        )
        for script in ("demo", "test"):
            self.assertIn("needs Python 3.11 or later; ", self.refusal(script, old))
            self.assertIn("is Python 3.10.13", self.refusal(script, old))

    def test_no_venv(self) -> None:
        """On a Debian without python3-venv the scripts name the package to install."""
        bare = self.fake_python('case "$2" in *ensurepip*) exit 1;; esac')
        for script in ("demo", "test"):
            self.assertIn("apt install python3-venv", self.refusal(script, bare))

    def test_steps(self) -> None:
        """While pip works, its steps are printed; if it fails, its own error and what to check."""
        for status in (0, 1):
            place = Path(self.mktemp()).resolve()
            (place / "bin").mkdir(parents=True)
            for name, body in (
                (
                    "python",
                    f"case $2 in pip) echo 'Collecting treq>=24 (from chatfiles)'; "
                    f"echo noise; echo 'ERROR: no index' >&2; exit {status};; esac\n"
                    f"exec '{sys.executable}' \"$@\"",
                ),
                ("pip", ""),
                ("chatfiles", "echo started $1"),
            ):
                os.symlink(self.fake_python(body), place / "bin" / name)
            demo = [ROOT / "bin" / "demo"]
            printed = expect(status, demo, ROOT, CHATFILES_VENV=str(place)).splitlines()
            self.assertRegex(printed[0], "^chatfiles: setting up ")
            self.assertIn("  getting treq", printed)
            self.assertNotIn("noise", printed)
            self.assertIn("ERROR: no index", printed)
            self.assertEqual("started demo" in printed, status == 0)
            self.assertEqual(any("could not install" in line for line in printed), status == 1)


class CountTests(SynchronousTestCase):
    """The closing line of a CI run."""

    def test_count(self) -> None:
        """A run counts as failed if anything in it failed or nothing ran."""
        count = runpy.run_path(str(ROOT / ".ci" / "count.py"))["count"]
        for output, status, expected in (
            ("Ran 4 tests\n\nPASSED (successes=4)\n", 0, (4, 0, 0)),
            ("PASSED (skips=3, successes=120)\n", 0, (120, 0, 3)),
            ("PASSED (skips=1, expectedFailures=2, successes=4)\n", 0, (4, 0, 3)),
            ("PASSED (unexpectedSuccesses=1, successes=4)\n", 0, (4, 1, 0)),
            ("FAILED (failures=1, errors=2, successes=7)\n", 1, (7, 3, 0)),
            ("FAILED (errors=1)\n", 1, (0, 1, 0)),
            ("PASSED (successes=9)\nnoise\nFAILED (failures=1, successes=8)\n", 1, (8, 1, 0)),
            ("it said PASSED (successes=4)\n", 0, (0, 1, 0)),
            ("PASSED (successes=4)\n", 124, (4, 1, 0)),
            ("FAILED (successes=4)\n", 0, (4, 1, 0)),
            ("PASSED\n", 0, (0, 1, 0)),
            ("PASSED (skips=2)\n", 0, (0, 1, 2)),
            ("Traceback (most recent call last):\n", 1, (0, 1, 0)),
            ("", 0, (0, 1, 0)),
        ):
            self.assertEqual(count(output, status), expected, output)
