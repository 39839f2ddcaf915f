"""
A platform and a workspace, from a checkout.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from urllib.request import Request, urlopen
from uuid import uuid4

from bench.processes import Server, free_port, start
from bench.sender import Upload
from bench.systems.base import Listings, Place, Start, System, Uploads
from bench.target import Target

__all__ = [
    "CHANNEL",
    "CHECKOUT",
    "RELAY",
    "chatfiles",
    "form",
    "resumable",
    "split_options",
    "supports",
]

#: The checkout that this module is in.
CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_TWISTD = "from twisted.scripts.twistd import run; run()"
_READY = re.compile(r"chatfiles (?:platform|workspace) ready on (https?)://\S+:(\d+)")
#: As long as those of curl and of browsers.
_BOUNDARY = "-" * 24 + "d74496d66958873e"
#: The workspace connects by itself; and clients ask a second node, which has to ask the first.
CHANNEL, RELAY = "--channel", "--node-url"
#: Seconds.
_CONNECTS_WITHIN = 20.0
#: No upload of the scenarios is larger.
_LIMITS = ("--max-file-bytes=2G", "--max-request-bytes=2G")
#: The clients of a scenario are one user, and the requests of the one before may not have ended.
_MANY = "--max-transfers-per-token=1000"


def split_options(text: str) -> dict[str, list[str]]:
    """
    :param text: options of both roles, or of one: ``--a platform:--b=1 workspace:--c``.
    :return: the options of each role.
    """
    roles: dict[str, list[str]] = {"platform": [], "workspace": []}
    for option in shlex.split(text):
        only, _, rest = option.partition(":")
        for role, options in roles.items():
            if only not in roles:
                options.append(option)
            elif only == role:
                options.append(rest)
    return roles


def chatfiles(name: str, options: str = "", checkout: str = CHECKOUT) -> Start:
    """
    :param name: what results call it.
    :param options: see `split_options`.
    :param checkout: where the roles' code is.
    :return: what starts both roles.
    """
    return partial(_start, name, split_options(options), checkout)


def _start(
    name: str, options: Mapping[str, list[str]], checkout: str, place: Place, stack: ExitStack
) -> System:
    base = place.directory(name)
    configs = os.path.join(base, "configs")
    state = os.path.join(base, "state")
    os.mkdir(configs)
    tls = f"privateKey={place.certificate.key}:certKey={place.certificate.certificate}"

    def node(number: int, *more: str) -> tuple[Server, dict[str, int]]:
        return _role(
            [
                "--role=platform",
                "--listen=tcp:0:interface=127.0.0.1",
                f"--listen=ssl:0:{tls}:interface=127.0.0.1",
                f"--state-dir={state}",
                "--upstream-allow=127.0.0.0/8",
                *_LIMITS,
                _MANY,
                *(each for each in options["platform"] if each != RELAY),
                *more,
            ],
            os.path.join(base, f"platform-{number}.log"),
            checkout,
            stack,
            listeners=2,
        )

    def workspace_with(*more: str) -> tuple[Server, dict[str, int]]:
        return _role(
            [
                "--role=workspace",
                "--listen=tcp:0:interface=127.0.0.1",
                f"--root=/workspace={place.files}",
                f"--configs-dir={configs}",
                *_LIMITS,
                *options["workspace"],
                *more,
            ],
            os.path.join(base, "workspace.log"),
            checkout,
            stack,
        )

    others: dict[str, Server] = {}
    if RELAY in options["platform"]:
        platform, ports = node(1, *_node_options())
        others["node"], near = node(2, *_node_options())
    else:
        platform, ports = node(1)
        near = ports
    if CHANNEL in options["workspace"]:
        workspace_id, token = _register(near["http"], {"delivery_mode": "poll"}, state, configs)
        url = f"http://127.0.0.1:{near['http']}"
        more = (f"--platform={url}", f"--workspace-id={workspace_id}")
        workspace, _ = workspace_with(*more)
        _wait_for_channel(url, workspace_id, token)
    else:
        workspace, inner = workspace_with()
        url = f"http://127.0.0.1:{inner['http']}"
        workspace_id, token = _register(ports["http"], {"url": url}, state, configs)
    headers = (("Authorization", f"Bearer {token}"),)

    def file(scheme: str, path: str) -> Target:
        query = f"/workspaces/{workspace_id}/chat/download?path=/workspace/{path}"
        return Target(ports[scheme], query, headers, scheme)

    def archive(folder: str, archive_format: str) -> Target:
        query = f"fs/archive?path=/workspace/{folder}&format={archive_format}"
        return Target(ports["http"], f"/workspaces/{workspace_id}/{query}", headers)

    def entries(query: str) -> Target:
        return Target(ports["http"], f"/workspaces/{workspace_id}/fs/entries?{query}", headers)

    servers = {"platform": platform, **others, "workspace": workspace}
    stored = os.path.join(place.files, ".molecule", "chat-uploads")
    ways = partial(form, workspace_id, token), partial(resumable, workspace_id, token)
    uploads = Uploads(ports["http"], ways[0], stored, ways[1])
    return System(
        name,
        servers,
        partial(file, "http"),
        partial(file, "https"),
        uploads,
        archive,
        listings=Listings(entries, place.files),
    )


def form(workspace_id: str, token: str, size: int) -> Upload:
    """:return: the upload of a form with one file."""
    begin = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="f.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode("ascii")
    end = f"\r\n--{_BOUNDARY}--\r\n".encode("ascii")
    headers = (
        f"POST /workspaces/{workspace_id}/chat/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(begin) + size + len(end)}\r\n\r\n"
    )
    return Upload(headers.encode("ascii"), begin, end)


def resumable(workspace_id: str, token: str, size: int) -> Upload:
    """:return: a resumable upload (tus), which is created together with its bytes."""
    headers = (
        f"POST /workspaces/{workspace_id}/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\nUpload-Length: {size}\r\n"
        "Content-Type: application/offset+octet-stream\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    return Upload(headers.encode("ascii"))


def supports(option: str, checkout: str = CHECKOUT) -> bool:
    """:return: whether the roles know an option, by its name with dashes."""
    command = [sys.executable, "-c", _TWISTD, "chatfiles", "--help"]
    found = subprocess.run(
        command, env=_environment(checkout), capture_output=True, text=True, check=False
    )
    return re.search(rf"{re.escape(option)}\b", found.stdout) is not None


def _role(
    options: list[str], log: str, checkout: str, stack: ExitStack, listeners: int = 1
) -> tuple[Server, dict[str, int]]:
    """:return: the process of a role, and the ports of its listeners by their scheme."""
    command = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "chatfiles", *options]

    def ports() -> dict[str, int]:
        with open(log, encoding="utf-8", errors="replace") as file:
            return {scheme: int(port) for scheme, port in _READY.findall(file.read())}

    ready = partial(lambda: len(ports()) == listeners)
    return start(command, log, stack, ready, _environment(checkout)), ports()


def _environment(checkout: str) -> dict[str, str]:
    """:return: the environment of a role, without what configures other roles."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CHATFILES_") and name != "CONFIGS_DIR"
    }
    return {**kept, "PYTHONPATH": os.path.abspath(checkout)}


def _node_options() -> tuple[str, str]:
    """:return: the options of a node that others reach."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    return f"--node-url={url}", f"--node-listen=tcp:{port}:interface=127.0.0.1"


def _wait_for_channel(url: str, workspace_id: str, token: str) -> None:
    """Wait until the workspace is connected."""
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + _CONNECTS_WITHIN
    while time.monotonic() < deadline:
        with urlopen(Request(f"{url}/workspaces/{workspace_id}", headers=headers)) as response:
            if json.load(response)["channel"]["connected"]:
                return
        time.sleep(0.05)
    raise TimeoutError("the workspace does not connect")


def _register(port: int, place: Mapping[str, str], state: str, configs: str) -> tuple[str, str]:
    """
    :param place: how the workspace is reached.
    :return: the id and the token of the workspace, which has received its credentials.
    """
    with open(os.path.join(state, "admin-token"), encoding="ascii") as file:
        headers = {
            "Authorization": f"Bearer {file.read().strip()}",
            "Content-Type": "application/json",
        }
    workspace_id = str(uuid4())
    body = json.dumps({"id": workspace_id, **place}).encode("ascii")
    with urlopen(Request(f"http://127.0.0.1:{port}/registry/register", body, headers)) as response:
        found = json.load(response)
    for name, member in (
        (".platform_inbound_secret", "platform_inbound_secret"),
        (".auth_token", "auth_token"),
    ):
        path = os.path.join(configs, name)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            file.write(found[member])
    return workspace_id, found["auth_token"]
