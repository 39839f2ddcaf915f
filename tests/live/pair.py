"""
Both roles together: a platform, and a workspace that it reaches.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from twisted.trial.unittest import SkipTest

from tests.live.audit_file import AuditFile
from tests.live.behind_nat import BehindNAT
from tests.live.rawhttp import Fields, Response, fetch
from tests.live.role import Role, listen_on
from tests.support.ports import free_port

__all__ = ["LONG_AGO", "VIA", "OnlyThrough", "Pair", "quoted"]

#: How the platform reaches the workspace, unless a test says otherwise: ``url``, ``channel``, or
#: ``nat``: over a channel, and the workspace cannot be connected to at all, by the test neither.
VIA = os.environ.get("CHATFILES_LIVE_VIA", "url")

#: Seconds for which a request waits for a connection of the workspace.  Each upload needs a new
#: one, and a busy machine makes them slowly.
CONNECT_TIMEOUT = 30

#: When files were modified, so that their validators are strong: seconds since the epoch.
LONG_AGO = 1_600_000_000


T = TypeVar("T")


class OnlyThrough(list[T]):
    """
    The ways to a workspace to which nothing can connect, in place of the direct one and that
    through the platform: as a list it has only the second, whose index is 1 as ever.
    """

    def __getitem__(self, index: Any) -> Any:
        """:raise SkipTest: it is the direct one."""
        if index not in (1, -1):
            raise SkipTest("nothing can connect to the workspace")
        return super().__getitem__(0)


class Answers(dict[str, Response]):
    """Responses by the name of the way; see `OnlyThrough`."""

    def __missing__(self, name: str) -> Response:
        raise SkipTest(f"there is no {name} response")


def quoted(path: str | bytes) -> str:
    """:return: *path* as the value of a query, everything escaped that may be."""
    return quote(path, safe="/")


class Pair:
    """
    A platform, and a workspace with directories of its own that the platform reaches.

    :param both: options of both roles.
    :param platform: options of the platform.
    :param workspace: options of the workspace.
    :param uid: the user that the workspace runs as; only root can say.
    :param told: additional environment variables of the platform.
    :param first: Python that both processes execute before ``twistd``.
    :param via: how the platform reaches the workspace, see `VIA`.
    :ivar base: a directory of its own; the roots are in it, by their names.
    :ivar outside: options of the platform with the address that only the workspace uses, if any.
    :ivar token: an auth token of the workspace.
    :ivar roles: what is stopped with the pair.
    """

    def __init__(
        self,
        both: Sequence[str] = (),
        platform: Sequence[str] = (),
        workspace: Sequence[str] = (),
        uid: int | None = None,
        told: Mapping[str, str] = {},
        first: str = "",
        via: str = VIA,
    ) -> None:
        self._uid = uid
        self.via = via
        self._nat = None
        self.outside: list[str] = []
        if via == "nat":
            port = free_port()
            self._nat = BehindNAT(port)
            if any(option.startswith("--listen") for option in both):
                raise SkipTest("the workspace listens in this test")
            # Tests and balancers use the first address, the workspace the last one.
            if not any(option.startswith("--listen") for option in platform):
                platform = [listen_on(0), *platform]
            self.outside = [f"--listen=tcp:{port}:interface={self._nat.outside}"]
            platform = [*platform, *self.outside]
            options = [option for option in workspace if not option.startswith("--listen")]
            workspace = ["--listen=none", "--insecure-platform", *options]
        self.base = os.path.realpath(tempfile.mkdtemp(prefix="chatfiles-live-"))
        os.chmod(self.base, 0o755)
        self.state = os.path.join(self.base, "state")
        self.secret = ""
        roots = []
        for root in ("workspace", "configs", "home", "plugins"):
            os.mkdir(self.at(root))
            roots.append(f"--root=/{root}={self.at(root)}")
        self._audits = {
            name: AuditFile(self.at(f"{name}.audit")) for name in ("platform", "workspace")
        }
        self.platform = Role(
            "platform",
            f"--state-dir={self.state}",
            self._audits["platform"].option,
            "--upstream-allow=127.0.0.0/8",
            # Tests that share a pair present many wrong credentials within a second.
            "--max-refusals-per-client=0",
            *both,
            *(self.node_options() if "CHATFILES_DATABASE" in told else ()),
            *([] if via == "url" else [f"--connect-timeout={CONNECT_TIMEOUT}"]),
            *platform,
            told=told,
            first=first,
        )
        if uid is None:  # another user cannot make files here
            roots.append(self._audits["workspace"].option)
        twistd = [] if uid is None else [f"--uid={uid}", f"--gid={uid}"]
        self.roles = [self.platform]
        try:
            self._begin()
            if via != "url":
                roots += self._channel()
            self.workspace = Role(
                "workspace",
                *roots,
                *both,
                *workspace,
                twistd=twistd,
                first=first,
                within=self._nat.command if self._nat is not None else (),
            )
            self.roles.append(self.workspace)
            if via == "url":
                self._enrol()
            else:
                self._connected()
        except BaseException:
            self.discard()
            raise

    def _begin(self) -> None:
        assert self.platform.url, "it listens, so there is an admin token"
        with open(os.path.join(self.state, "admin-token")) as file:
            self.admin = file.read().strip()
        self.hide(self.admin)

    def _channel(self) -> list[str]:
        """:return: options of a workspace that connects to the platform."""
        self.id, self.token = self.add(None, delivery_mode="poll")
        self.keep_token()
        if self._uid is not None:
            os.chown(self.at("configs"), self._uid, self._uid)
        url = self.platform.url if self._nat is None else self._nat.url
        return ["--channel", f"--platform={url}", f"--workspace-id={self.id}"]

    def _connected(self) -> None:
        self.hide(self.admin, self.token)
        self.workspace.logged("channel to .*: open")
        with open(self.secret_file) as file:
            self.secret = file.read()
        self.hide(self.secret)

    def _enrol(self) -> None:
        self.id, self.token = self.add(self.workspace.url)
        body = json.dumps({"id": self.id, "url": self.workspace.url}).encode()
        answer = fetch(
            self.platform.url,
            "/registry/register",
            {"Authorization": f"Bearer {self.token}"},
            method="POST",
            body=body,
        )
        self.keep_secret(answer.json["platform_inbound_secret"])
        self.hide(self.admin, self.token)

    # -- what there is

    def at(self, *names: str) -> str:
        """:return: a path below `base`."""
        return os.path.join(self.base, *names)

    @property
    def is_dialled(self) -> bool:
        """Whether anything can connect to the workspace."""
        return self._nat is None or self._nat.is_reached()

    @property
    def database(self) -> str:
        """The file of the registry."""
        return os.path.join(self.state, "registry.db")

    @property
    def secret_file(self) -> str:
        """Where the workspace finds its inbound secret."""
        return self.at("configs", ".platform_inbound_secret")

    def hide(self, *values: str) -> None:
        """Let neither role log these."""
        for role in self.roles:
            role.secrets.update(value for value in values if value)

    def keep_secret(self, secret: str) -> None:
        """Give the workspace a new inbound secret."""
        self.secret = secret
        self.hide(secret)
        self._keep(self.secret_file, secret)

    def keep_token(self) -> str:
        """
        Give the workspace its auth token, in a new file.

        :return: the path of the file.
        """
        path = self.at("configs", ".auth_token")
        self._keep(path, self.token)
        return path

    def _keep(self, path: str, secret: str) -> None:
        temporary = path + ".new"
        with open(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(secret)
        if self._uid is not None:
            os.chown(temporary, self._uid, self._uid)
        os.rename(temporary, path)

    def node_options(self) -> list[str]:
        """:return: options of a platform that shares the registry: others reach it."""
        if self.via == "url":
            return []
        port = free_port()
        listen = f"--node-listen=tcp:{port}:interface=127.0.0.1"
        return [f"--node-url=http://127.0.0.1:{port}", listen]

    def write(self, name: str | bytes, content: bytes = b"") -> bytes:
        """
        Make a file of the workspace, last modified long ago.

        :param name: below `base`, such as ``workspace/a.txt``.
        :return: its path.
        """
        path = os.path.join(os.fsencode(self.base), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def add(self, url: str | None, **more: object) -> tuple[str, str]:
        """:return: the id and token of another workspace that the platform knows."""
        body = json.dumps({"name": "live", **({"url": url} if url else {}), **more}).encode()
        answer = self.as_admin("POST", "/workspaces", body)
        if answer.status != 201:
            raise AssertionError(f"{answer.status}: {answer.body!r}")
        made = answer.json
        self.hide(made["auth_token"])
        return made["id"], made["auth_token"]

    # -- what can be asked

    def as_admin(self, method: str, target: str, body: bytes | None = None) -> Response:
        """:return: the platform's response to the admin."""
        admin = {"Authorization": f"Bearer {self.admin}"}
        return fetch(self.platform.url, target, admin, method=method, body=body)

    def hops(self, query: str | bytes) -> list[tuple[str, Role, bytes, dict[str, str]]]:
        """
        :param query: the whole query string.
        :return: the ways to a file: a name for it, whom to ask, for what, and the credential; no
            direct one if nothing can connect to the workspace.
        """
        raw = query if isinstance(query, bytes) else query.encode("ascii")
        through = ("through", self.platform, self.download_target(raw), self.bearer)
        if self.via == "nat":
            return OnlyThrough([through])
        direct = ("direct", self.workspace, b"/internal/file/read?" + raw, self.inbound)
        return [direct, through]

    def download_target(self, query: bytes) -> bytes:
        """:return: the platform's download route."""
        return b"/workspaces/%s/chat/download?%s" % (self.id.encode(), query)

    @property
    def inbound(self) -> dict[str, str]:
        """The platform's credential."""
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def bearer(self) -> dict[str, str]:
        """A client's credential."""
        return {"Authorization": f"Bearer {self.token}"}

    def get(
        self, query: str | bytes, fields: Fields = (), method: str = "GET"
    ) -> dict[str, Response]:
        """:return: the responses of both ways."""
        more = dict(fields)
        return Answers(
            (name, fetch(role.url, target, {**credential, **more}, method=method))
            for name, role, target, credential in self.hops(query)
        )

    def file(self, path: str | bytes, fields: Fields = ()) -> dict[str, Response]:
        """:return: the responses of both ways for a path."""
        return self.get("path=" + quoted(path), fields)

    # -- how it ends

    def stop(self) -> None:
        """See `Role.stop`."""
        try:
            for role in self.roles:
                role.signal(signal.SIGTERM)
            for role in self.roles:
                role.ended_well()
        finally:
            self.discard()

    def check_logs(self) -> None:
        """See `Role.check_log`.  The audit logs have no secrets either."""
        for role in self.roles:
            role.check_log()
            if role.name in self._audits:
                self._audits[role.name].check(role.secrets)

    def audit(self, name: str) -> AuditFile:
        """:return: the audit log of a role."""
        return self._audits[name]

    def discard(self) -> None:
        """Leave nothing."""
        for role in self.roles:
            role.kill()
        if self._nat is not None:
            self._nat.close()
        shutil.rmtree(self.base, ignore_errors=True)
