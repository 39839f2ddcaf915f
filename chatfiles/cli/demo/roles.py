"""
A platform and a workspace on this machine, for downloads and uploads.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import socket
import sys
import time
from urllib.request import getproxies

import chatfiles
from chatfiles.cli.demo.child_processes import Child, ChildProcesses
from chatfiles.cli.demo.sample_files import find_files, make_files
from chatfiles.cli.errors import CliError, printable
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.options import read_secret_file
from chatfiles.cli.terminal.tables import as_object
from chatfiles.cli.transfers.download import download_route
from chatfiles.client.core.steps import Request

__all__ = ["DemoRoles", "free_port", "require_free"]

#: The name of the workspace.
NAME = "demo"
#: Seconds for a role to start, and for the first download to work.
START_TIMEOUT = 120.0
#: Seconds between two attempts of the first download.
POLL = 0.1
#: Maximum number of files that are named on the screen.
NAMED = 5

#: A child is ``twistd`` with two additions.  It imports the package from the same directory as this
#: process.  It stops when its standard input closes, so that it never outlives the demo.
_LAUNCH = """\
import os, signal, sys, threading
sys.path.append(sys.argv.pop(1))
def follow():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""


class DemoRoles:
    """
    Starts both roles and describes how to use them.

    :param processes: runs the roles.
    :param state: an empty directory, for the files that the demo writes.
    :param directory: the directory that the workspace serves; ``None`` for sample files.
    :ivar names: the relative names of some served files.
    :ivar children: the processes that have been started.
    :ivar platform: the platform's URL.
    :ivar workspace: the workspace's URL; empty if it does not listen.
    :ivar workspace_id: the workspace's id.
    """

    def __init__(self, processes: ChildProcesses, state: str, directory: str | None) -> None:
        self._processes = processes
        self._state = state
        self._directory = directory or os.path.join(state, "workspace")
        self._token_file = os.path.join(state, "token")
        self._header_file = os.path.join(state, "header")
        self._made = directory is None
        self._token = ""
        self.names: list[str] = []
        self.children: list[Child] = []
        self.platform = ""
        self.workspace = ""
        self.workspace_id = ""

    def start(self, port: int, workspace_port: int | None) -> None:
        """
        Start both roles, and download one file as proof that they work.

        :param port: the platform's port; 0 for any free port.
        :param workspace_port: the workspace's port; ``None`` if it does not listen, and connects to
            the platform.
        :raise CliError: there is no file, a role did not start, or the download failed.
        """
        if self._made:
            os.mkdir(self._directory)
            self.names = make_files(self._directory)
        else:
            self.names = find_files(self._directory, NAMED)
        if not self.names:
            raise CliError(f"there is no file to serve in {self._directory}", Exit.LOCAL)
        state_dir = os.path.join(self._state, "platform")
        self.platform = self._role(
            "platform",
            _local(port),
            [f"--state-dir={state_dir}", "--upstream-allow=127.0.0.0/8"],
        )
        self.workspace = f"http://127.0.0.1:{workspace_port}" if workspace_port else ""
        self._token = token = self._create_workspace(os.path.join(state_dir, "admin-token"))
        configs = os.path.join(self._state, "configs")
        os.mkdir(configs, 0o700)
        _write_secret(self._token_file, token)
        _write_secret(os.path.join(configs, ".auth_token"), token)
        _write_secret(self._header_file, f"Authorization: Bearer {token}")
        self._role(
            "workspace",
            _local(workspace_port) if workspace_port else "none",
            [
                f"--root=/workspace={self._directory}",
                f"--configs-dir={configs}",
                f"--platform={self.platform}",
                f"--workspace-id={self.workspace_id}",
                f"--advertise={self.workspace}" if self.workspace else "--channel",
                # Not in a directory of the user.
                *(["--writable=/workspace"] if self._made else []),
            ],
        )
        self._first_download(Client(self.platform, token, timeout=START_TIMEOUT))

    def _role(self, role: str, listen: str, options: list[str]) -> str:
        package = os.path.dirname(os.path.dirname(os.path.abspath(chatfiles.__file__)))
        child = self._processes.start(
            role,
            [
                *(sys.executable, "-P", "-c", _LAUNCH, package),
                *("-n", "--pidfile=", "chatfiles", f"--role={role}"),
                *(f"--listen={listen}", "--drain-timeout=3", *options),
            ],
            self._state,
        )
        self.children.append(child)
        return self._processes.ready(child, START_TIMEOUT).rstrip("/")

    def _create_workspace(self, admin_token_file: str) -> str:
        admin = Client(self.platform, read_secret_file(admin_token_file), timeout=START_TIMEOUT)
        body = {"name": NAME, "delivery_mode": "poll"}
        if self.workspace:
            body = {"name": NAME, "url": self.workspace, "delivery_mode": "push"}
        answer = as_object(admin.call("POST", "/workspaces", body))
        self.workspace_id = str(answer.get("id"))
        return str(answer.get("auth_token"))

    def _first_download(self, client: Client) -> None:
        """Retry until it works: the workspace receives its secret shortly after it is ready."""
        name = self.names[0]
        with open(os.path.join(self._directory, name), "rb") as file:
            expected = file.read(1)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            route = download_route(self.workspace_id, os.fsencode(f"/workspace/{name}"))
            with client.translated(), client.open(Request("GET", route)) as response:
                if response.status == 200:
                    came = response.receive()
                    if came[:1] != expected:
                        raise CliError("the first download brought something else", Exit.FAILED)
                    return
                status = response.status
            if time.monotonic() > deadline:
                raise CliError(f"the first download still gets {status}", Exit.FAILED)
            self._processes.watch(POLL)

    def description(self, *, verbose: bool) -> str:
        """:return: the text that the demo prints when both roles work."""
        more = "" if verbose else "\nWith -v, demo shows what both log."
        reached = "listens on nothing, and has connected to the platform"
        writable = ", writable" if self._made else ", not writable except for uploads"
        if self.workspace:
            reached = f"{self.workspace}  (what it calls)"
        return f"""\
Open this address in a browser to see the files.  It contains a token: do not share it.

  {self.platform}/ui/#token={self._token}

A platform and a workspace are running on this machine.

  platform   {self.platform}  (what you call)
  workspace  {reached}
  files      {self._directory}, served as /workspace{writable}

Or use another terminal.  Either of these lines fetches a file:

  {self._curl(self.names[0])}

  {self._get(self.names[:2][-1])}

See what is there, and fetch all of it into the directory demo-files:

  {self._command("ls", NAME, "/workspace")}
  {self._command("get", "-r", NAME, "/workspace", "-o", "demo-files")}

Send one: this line does, and prints the path under which it can be fetched.

  {self._put()}

Make a link to a file, which opens in any browser without a token, for an hour:

  {self._link(self.names[0])}

List the files in Python, with the client that can also download and upload:

  {self._python()}

Files: {", ".join(printable(f"/workspace/{name}") for name in self.names)}{more}

Press Ctrl-C to stop; everything the demo made is removed then."""

    def _curl(self, name: str) -> str:
        url = self.platform + download_route(self.workspace_id, os.fsencode(f"/workspace/{name}"))
        direct = " --noproxy '*'" if "http" in getproxies() else ""
        # A header on the command line would be in the list of processes, token and all.
        header = shlex.quote(f"@{self._header_file}")
        return f"curl -fsS{direct} -H {header} {shlex.quote(url)}"

    def _get(self, name: str) -> str:
        return self._command("get", NAME, f"/workspace/{name}")

    def _link(self, name: str) -> str:
        return self._command("link", NAME, f"/workspace/{name}")

    def _put(self) -> str:
        command = self._command("put", "--name", "note.txt", "-", NAME)
        return f"echo 'Hello from this side.' | {command}"

    def _python(self) -> str:
        program = (
            "from chatfiles.client import Client; "
            'print([entry.name for entry in Client.from_environment().list("/workspace")])'
        )
        where = {
            "CHATFILES_PLATFORM": self.platform,
            "CHATFILES_TOKEN_FILE": self._token_file,
            "CHATFILES_WORKSPACE": self.workspace_id,
        }
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in where.items())
        return f"{variables} {_own_python()} -c {shlex.quote(program)}"

    def _command(self, name: str, *more: str) -> str:
        where = ("--platform", self.platform, "--token-file", self._token_file)
        return f"{_own_command()} {shlex.join((name, *where, *more))}"


def _own_command() -> str:
    """:return: the shell words that run this program from any directory."""
    if not _is_script():
        return f"{_own_python()} -m chatfiles.cli"
    ours, found = os.path.abspath(sys.argv[0]), shutil.which("chatfiles")
    if found is not None and os.path.samefile(found, ours):
        return "chatfiles"
    return shlex.quote(ours)


def _own_python() -> str:
    """:return: the shell words that run a Python which finds this package from any directory."""
    python = shlex.quote(sys.executable)
    if _is_script():
        return python
    package = os.path.dirname(os.path.dirname(os.path.abspath(chatfiles.__file__)))
    return f"PYTHONPATH={shlex.quote(package)} {python}"


def _is_script() -> bool:
    """:return: whether the script of the installed package runs."""
    return os.path.basename(sys.argv[0]) == "chatfiles" and os.path.isfile(sys.argv[0])


def _write_secret(path: str, text: str) -> None:
    """Write a new file that only this user can read."""
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def _local(port: int) -> str:
    return f"tcp:{port}:interface=127.0.0.1"


def require_free(port: int, option: str) -> None:
    """
    Check that a role can listen on *port*.

    :param option: the option that chose it.
    :raise CliError: it cannot.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the role does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = "another program listens there"
            if error.errno != errno.EADDRINUSE:
                why = error.strerror or str(error)
            raise CliError(
                f"port {port} of 127.0.0.1 cannot be used: {why}",
                Exit.FAILED,
                hint=f"{option} N takes another one; without {option}, the demo takes a free one",
            ) from error


def free_port() -> int:
    """:return: a port that is free now, for the workspace, which must advertise its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
