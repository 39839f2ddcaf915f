"""
A workspace that registers itself, with short intervals, and that may be killed while it changes its
secrets.  A platform that is killed while it changes them in its registry.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.live.pair import Pair
from tests.live.role import Role, listen_on
from tests.support.ports import free_port

__all__ = ["SecretWorkspace", "killed_at_commit"]

#: Instead of 30 seconds between heartbeats, and two before an acknowledgement.
_FASTER = """
from chatfiles.workspace import inbound_secrets
from chatfiles.workspace.registration import service
service.ACKNOWLEDGE_AFTER = 0.4
service.RegistrationService.__init__.__defaults__ = (0.5,)
inbound_secrets.KEPT_NS, inbound_secrets.SEEN_NS = 100_000_000, 300_000_000
"""

#: Ends the process before it changes the name of a secret's file for the so-manieth time.
_KILLED = """
import os, signal
left = {changes}

def killing(change):
    def changing(name, *arguments, **more):
        global left
        raw = os.fsencode(name)
        is_temporary = b".tmp-" in raw
        if b".platform_inbound_secret" in raw and is_temporary == (change is rename):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return change(name, *arguments, **more)
    return changing

rename = os.rename
os.rename, os.unlink = killing(os.rename), killing(os.unlink)
"""

#: Ends the process before or after it commits a change of a pending rotation.
_KILLED_AT_COMMIT = """
import os, signal, sqlite3
left = {moment}

def pass_moment():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Connection(sqlite3.Connection):
    is_rotation = False

    def execute(self, statement, *parameters):
        if "UPDATE" in statement and "next_inbound_secret" in statement:
            self.is_rotation = True
        if statement != "COMMIT" or not self.is_rotation:
            return super().execute(statement, *parameters)
        self.is_rotation = False
        pass_moment()
        result = super().execute(statement)
        pass_moment()
        return result

connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **more: connect(*arguments, factory=Connection, **more)
"""


def killed_at_commit(moment: int) -> str:
    """
    :param moment: 0 is before the first change of a rotation is committed, 1 after it, 2 before the
        second one, and so on.
    :return: Python that a platform with SQLite executes before ``twistd``, to be killed then.
    """
    return _KILLED_AT_COMMIT.format(moment=moment)


class SecretWorkspace:
    """
    A workspace of a platform.

    :param root: the directory of its files, below that of the pair.
    :param options: more of them.
    :ivar id: its id.
    :ivar token: its token.
    :ivar role: its process, or the last one.
    """

    def __init__(self, pair: Pair, root: str = "workspace", options: Sequence[str] = ()) -> None:
        self._pair = pair
        self._options = (f"--root=/workspace={pair.at(root)}", *options)
        self._port = free_port()
        self.id, self.token = pair.add(None)
        self.configs = pair.at(f"configs-{self.id}")
        os.mkdir(self.configs, 0o700)
        path = os.path.join(self.configs, ".auth_token")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.token)
        pair.write("workspace/a.txt", b"hello a\n")

    def start(self, changes: int | None = None, platform: str = "") -> Role:
        """
        :param changes: after how many changes of the names of its secrets' files it is killed.
        :param platform: the URL of its platform.
        :return: its process.
        """
        killed = "" if changes is None else _KILLED.format(changes=changes)
        self.role = Role(
            "workspace",
            listen_on(self._port),
            *self._options,
            f"--configs-dir={self.configs}",
            f"--platform={platform or self._pair.platform.url}",
            f"--workspace-id={self.id}",
            f"--advertise=http://127.0.0.1:{self._port}",
            first=_FASTER + killed,
        )
        self.role.secrets |= self._pair.platform.secrets
        return self.role

    def stop(self) -> None:
        """Kill its process, if it runs."""
        self.role.kill()
        self.role.check_log()

    def files(self) -> set[str]:
        """:return: the ends of the names of its secrets' files."""
        start = ".platform_inbound_secret"
        names = os.listdir(self.configs)
        return {name[len(start) :] for name in names if name.startswith(start)}

    def current(self) -> str:
        """:return: its current secret."""
        with open(os.path.join(self.configs, ".platform_inbound_secret")) as file:
            secret = file.read()
        self._pair.hide(secret)
        self.role.secrets.add(secret)
        return secret

    @property
    def bearer(self) -> dict[str, str]:
        """A client's credential."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def target(self) -> str:
        """The download of a small file."""
        return f"/workspaces/{self.id}/chat/download?path=/workspace/a.txt"
