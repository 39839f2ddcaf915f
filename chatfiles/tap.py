"""
``twistd chatfiles``: options in, a service out.  The one module that imports the reactor.
"""

from __future__ import annotations

import atexit
import gc
import os
import pwd
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from chatfiles.rules.database_url import EXPOSED
from chatfiles.runtime.options import Options, PlatformSettings, WorkspaceSettings
from chatfiles.runtime.role_service import Listener, RoleService
from chatfiles.runtime.signals import StopSignals

__all__ = ["Options", "makeService"]

#: Connections that may wait to be accepted, unless the operator says otherwise.  With Twisted's 50,
#: a burst of callers waits a second and more for their second SYN.
BACKLOG = 511
_QUEUED = ("tcp:", "tcp6:", "ssl:", "unix:")


_log = Logger()
_PORT = re.compile(r"(?:tcp6?|ssl):(?:(?:.*:)?port=)?([+-]?[0-9]+)(?::|\Z)")


def makeService(options: Options) -> IService:
    """
    :param options: parsed.
    :return: the role that they ask for.
    :raise SystemExit: with one line that says what is wrong.
    """
    from twisted.internet import reactor

    try:
        service = _service(reactor, options)
    except ValueError as error:
        raise SystemExit(f"chatfiles: {error}") from None
    if options.exposes_password:
        _log.warn(EXPOSED)
    _exit_cleanly(reactor)
    StopSignals(reactor, service.stop_now)
    reactor.callWhenRunning(_settle)
    return service


def _settle() -> None:
    """
    What has been loaded by now stays: looking through it for garbage, again and again, would hold
    up everybody for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


def _service(reactor: Any, options: Options) -> RoleService:
    settings = options.settings
    listeners = _listeners(reactor, settings.shared.listen)
    if isinstance(settings, WorkspaceSettings):
        from chatfiles.workspace.service import workspace_service

        return workspace_service(reactor, settings, listeners, lambda: _fail(reactor))
    from chatfiles.platform.service import platform_service

    token = partial(_admin_token, settings, _owner(options))
    return platform_service(reactor, settings, token, listeners, lambda: _fail(reactor))


def _admin_token(settings: PlatformSettings, owner: tuple[int, int]) -> str:
    """
    :return: the admin token; it and the state directory are made if they are not there.
    :raise ValueError: the system or the token's form does not let it.
    """
    from chatfiles.platform import state_directory

    path = settings.admin_token_file
    what = "--admin-token-file takes a file that can be read or created"
    where = "--state-dir takes a directory that can be created and written"
    with _naming(where):  # first, because the token's file may be in it
        state_directory.judge_state_directory(settings.state_dir)
    with _naming(what):
        known = state_directory.known_admin_token(path, os.environ.get("CHATFILES_ADMIN_TOKEN"))
    with _naming(where):
        state_directory.make_state_directory(settings.state_dir, owner)
    state_directory.sweep_admin_token(path)
    with _naming(what):
        return known or state_directory.new_admin_token(path, owner)


def _owner(options: Options) -> tuple[int, int]:
    """:return: the user and the group that twistd will become; -1 for what it stays."""
    twistd: Mapping[str, Any] = options.parent or {}
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if uid is not None and gid is None:
        with suppress(KeyError):  # no such user: twistd will say so
            gid = pwd.getpwuid(uid).pw_gid
    return -1 if uid is None else uid, -1 if gid is None else gid


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Tell which option it is that the system refuses."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{option}: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _listeners(reactor: Any, descriptions: Sequence[str]) -> list[Listener]:
    listeners = []
    for description in descriptions:
        try:
            endpoint = _endpoint(reactor, description)
        except Exception as error:
            raise ValueError(
                "--listen takes a Twisted server endpoint, such as "
                f"tcp:8080:interface=127.0.0.1, not {description!r}: {error}"
            ) from None
        port = _PORT.match(description)
        if port is not None and not 0 <= int(port[1]) <= 65535:
            raise ValueError(f"--listen takes a port from 0 to 65535, not {description!r}")
        listeners.append(Listener(description, endpoint))
    return listeners


def _endpoint(reactor: Any, description: str) -> Any:
    if description.startswith(_QUEUED) and "backlog=" not in description:
        try:
            return serverFromString(reactor, f"{description}:backlog={BACKLOG}")
        except Exception:  # noqa: S110 - the number may be there without its name
            pass
    return serverFromString(reactor, description)


def _exit_cleanly(reactor: Any) -> None:
    """
    Being told to stop is no failure: twistd would end itself with the same signal once more
    (``twisted.application.app._exitWithSignal``), and the status would not be 0.
    """

    def forget() -> None:
        reactor._exitSignal = None

    reactor.addSystemEventTrigger("after", "shutdown", forget)


def _fail(reactor: Any) -> None:
    """End the process with status 1, once twistd has cleaned up."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    atexit.register(leave)
    if reactor.running:
        reactor.stop()
    else:
        reactor.callWhenRunning(reactor.stop)
