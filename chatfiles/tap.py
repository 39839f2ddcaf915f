"""
``twistd chatfiles``: makes a service from the options.  Only this module imports the reactor.
"""

from __future__ import annotations

import atexit
import gc
import os
import pwd
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from chatfiles.posix.freed_memory import keep_freed_memory
from chatfiles.rules.database_url import EXPOSED, POSTGRES_SCHEMES
from chatfiles.runtime.json_log import JSONLog
from chatfiles.runtime.log_file import LogSignals, open_log_file
from chatfiles.runtime.metrics.server import require_library
from chatfiles.runtime.node_listener import NODE_DIRECTORY, make_node_directory, node_listener
from chatfiles.runtime.options import OPTIONS, Options
from chatfiles.runtime.role_service import Listener, RoleService
from chatfiles.runtime.service_manager import ServiceManager
from chatfiles.runtime.settings import PlatformSettings, SharedSettings, WorkspaceSettings
from chatfiles.runtime.signals import StopSignals
from chatfiles.runtime.systemd_endpoint import SYSTEMD, initial_environment, systemd_endpoint
from chatfiles.runtime.telemetry import node_name
from chatfiles.runtime.text_log import TextLog, logs_to_stdout
from chatfiles.runtime.tls.endpoint import PREFIX, TLSEndpoint
from chatfiles.runtime.tls.files import SILENT, BadFile
from chatfiles.runtime.variables import misspelt
from chatfiles.runtime.workers.command import worker_command
from chatfiles.runtime.workers.descriptors import VARIABLE
from chatfiles.runtime.workers.pool import WorkerPool
from chatfiles.runtime.workers.worker import Supervisor, inherited_endpoint

if TYPE_CHECKING:
    from chatfiles.platform.admin_token import AdminToken

__all__ = ["Options", "makeService"]

#: Default for the number of connections that may wait to be accepted.  With Twisted's 50, some
#: clients of a burst wait a second or more until they send their SYN again.
BACKLOG = 511
_QUEUED = ("tcp:", "tcp6:", "ssl:", "unix:", f"{PREFIX}:")


_log = Logger()
_PORT = re.compile(rf"(?:tcp6?|ssl|{PREFIX}):(?:(?:.*:)?port=)?([+-]?[0-9]+)(?::|\Z)")


def makeService(options: Options) -> IService:
    """
    :param options: the parsed options.
    :return: the service of the selected role.
    :raise SystemExit: the role cannot be made; the text is one line with the reason.
    """
    from twisted.internet import reactor

    number = os.environ.pop(VARIABLE, None)
    manager = ServiceManager.of_environment(os.environ, os.getpid(), reactor)
    pool = None
    try:
        if number is not None:
            service = _worker(reactor, int(number), options)
        elif options.settings.shared.workers > 1:
            pool = _pool(reactor, options)
            service = _supervisor(pool, options)
        else:
            service = _service(reactor, options)
    except ValueError as error:
        raise SystemExit(f"chatfiles: {error}") from None
    if options.exposes_password and number is None:
        _log.warn(EXPOSED)
    if number is None:
        _warn_of_variables(options)
    service.manager = manager
    _exit_cleanly(reactor)
    StopSignals(reactor, service.stop_now)
    _prepare_log(reactor, service, options, pool)
    reactor.callWhenRunning(_settle)
    return service


def _warn_of_variables(options: Options) -> None:
    """Warn of variables in the environment that look like those of options."""
    names = (option.name for option in OPTIONS)
    for given, meant in misspelt(options.environment, names).items():
        _log.warn("{given} is not known: is {meant} meant?", given=given, meant=meant)


def _prepare_log(
    reactor: Any, service: RoleService, options: Options, pool: WorkerPool | None
) -> None:
    """
    Prepare what ``twistd`` logs to, and make the role continue after signals of log rotation.

    :raise SystemExit: the file cannot be opened; the text is one line with the reason.
    """
    twistd: Mapping[str, Any] = options.parent or {}
    try:
        file = open_log_file(twistd)
    except OSError as error:
        raise SystemExit(f"chatfiles: --logfile: {error.filename}: {error.strerror}") from None
    if file is not None or logs_to_stdout(twistd):
        service.log_observer = log = _log_observer(options, file or sys.stdout, reactor)
        reactor.addSystemEventTrigger("after", "shutdown", log.flush)
        if pool is not None:
            pool.write = log.write
    elif options.settings.shared.json_log:
        raise SystemExit("chatfiles: --log-format=json is not available with the system log")
    if pool is not None:
        service.reload.add(partial(pool.signal_ready, signal.SIGHUP))
    LogSignals(reactor, str(service.name), file, service.reload.run)


def _log_observer(options: Options, out: Any, reactor: Any) -> TextLog | JSONLog:
    if options.settings.shared.json_log:
        return JSONLog(out, reactor, options.settings.role, node_name())
    return TextLog(out, reactor)


def _settle() -> None:
    """
    Exempt all objects that exist now from garbage collection.  They live as long as the process,
    and scanning them again and again would delay all requests for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    keep_freed_memory()


def _service(reactor: Any, options: Options, worker: Supervisor | None = None) -> RoleService:
    settings = options.settings
    listeners = _listeners(reactor, settings.shared.listen, worker)
    metrics = None if worker is not None else _metrics_listener(reactor, settings.shared)
    fail = partial(_fail, reactor)
    if isinstance(settings, WorkspaceSettings):
        from chatfiles.workspace.service import workspace_service

        return workspace_service(reactor, settings, listeners, fail, worker, metrics)
    from chatfiles.platform.service import platform_service

    token = partial(_admin_token, settings, _owner(options))
    if worker is not None:
        token = partial(_worker_admin_token, settings, worker)
    number = 1 if worker is None else worker.number

    def make(description: str) -> Listener:
        (listener,) = _listeners(reactor, [description], option="--node-listen")
        return listener

    node = node_listener(settings, number, os.environ, make)
    return platform_service(reactor, settings, token, listeners, fail, worker, metrics, node=node)


def _worker(reactor: Any, number: int, options: Options) -> RoleService:
    supervisor = Supervisor(reactor, number)
    supervisor.service = _service(reactor, options, supervisor)
    return supervisor.service


def _pool(reactor: Any, options: Options) -> WorkerPool:
    settings = options.settings
    command = worker_command(options.parent or {}, options.arguments, os.environ)
    drain_delay = settings.drain_delay if isinstance(settings, PlatformSettings) else 0.0
    return WorkerPool(reactor, settings.shared.workers, command, drain_delay)


def _supervisor(pool: WorkerPool, options: Options) -> RoleService:
    settings = options.settings
    listeners = _listeners(pool.reactor, settings.shared.listen)
    metrics = _metrics_listener(pool.reactor, settings.shared)
    fail = partial(_fail, pool.reactor)
    if isinstance(settings, WorkspaceSettings):
        from chatfiles.workspace.service import workspace_supervisor

        return workspace_supervisor(settings, pool, listeners, fail, metrics)
    from chatfiles.platform.service import platform_supervisor

    if settings.node_listen is None:
        pool.command.environment[NODE_DIRECTORY] = make_node_directory(_owner(options))
    token = partial(_admin_token, settings, _owner(options))
    return platform_supervisor(settings, pool, token, listeners, fail, metrics)


def _worker_admin_token(settings: PlatformSettings, worker: Supervisor) -> AdminToken:
    """:return: the admin token, as the first process passes it to this one.  One worker logs."""
    from chatfiles.platform.admin_token import ADMIN_TOKEN, FILE_TOKEN, AdminToken
    from chatfiles.platform.state_directory import reread_admin_token

    text = os.environ.get(FILE_TOKEN)
    if text is None:
        return AdminToken(os.environ[ADMIN_TOKEN])
    token = AdminToken(text, settings.admin_token_file, reread_admin_token)
    if not worker.is_first:
        token.log = SILENT
    return token


def _admin_token(settings: PlatformSettings, owner: tuple[int, int]) -> AdminToken:
    """
    :return: the admin token, created if it does not exist and is needed.
    :raise ValueError: see `_admin_token_text`.
    """
    from chatfiles.platform.admin_token import ADMIN_TOKEN, AdminToken
    from chatfiles.platform.state_directory import reread_admin_token

    path = settings.admin_token_file if os.environ.get(ADMIN_TOKEN) is None else None
    return AdminToken(_admin_token_text(settings, owner), path, reread_admin_token)


def _admin_token_text(settings: PlatformSettings, owner: tuple[int, int]) -> str:
    """
    :return: the admin token.  The token and the state directory are created if they do not exist
        and are needed.
    :raise ValueError: a system call failed, or the token has an invalid form.
    """
    from chatfiles.platform import state_directory

    path = settings.admin_token_file
    what = "--admin-token-file takes a file that can be read or created", path
    where = "--state-dir takes a directory that can be created and written", settings.state_dir
    told = os.environ.get("CHATFILES_ADMIN_TOKEN")
    if told is not None and settings.database.startswith(POSTGRES_SCHEMES):
        with _naming(*what):
            return state_directory.known_admin_token(path, told) or ""
    with _naming(*where):  # first, because the token file may be in this directory
        state_directory.check_state_directory(settings.state_dir)
    with _naming(*what):
        known = state_directory.known_admin_token(path, told)
    with _naming(*where):
        state_directory.make_state_directory(settings.state_dir, owner)
    state_directory.sweep_admin_token(path)
    with _naming(*what):
        return known or state_directory.new_admin_token(path, owner)


def _owner(options: Options) -> tuple[int, int]:
    """:return: the ids of the user and group that twistd switches to; -1 if it keeps its own."""
    twistd: Mapping[str, Any] = options.parent or {}
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if uid is not None and gid is None:
        with suppress(KeyError):  # no such user: twistd reports this
            gid = pwd.getpwuid(uid).pw_gid
    return -1 if uid is None else uid, -1 if gid is None else gid


@contextmanager
def _naming(option: str, path: str) -> Iterator[None]:
    """
    Raise a `ValueError` in place of an `OSError` or `ValueError`.

    :param option: the beginning of its text.
    :param path: the value of the option, for an `OSError`; a `ValueError` names its source itself.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(f"{option}, not {path}: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _metrics_listener(reactor: Any, settings: SharedSettings) -> Listener | None:
    if settings.metrics_listen is None:
        return None
    require_library()
    (listener,) = _listeners(reactor, [settings.metrics_listen], option="--metrics-listen")
    return listener


def _listeners(
    reactor: Any,
    descriptions: Sequence[str],
    worker: Supervisor | None = None,
    option: str = "--listen",
) -> list[Listener]:
    listeners = []
    for index, description in enumerate(descriptions):
        try:
            if worker is not None:
                endpoint = inherited_endpoint(reactor, worker.load, description, index)
            else:
                endpoint = _endpoint(reactor, description)
        except BadFile as error:
            raise ValueError(f"{option}={description}: {error}") from None
        except Exception as error:
            what = "a parameter is missing or unknown" if isinstance(error, TypeError) else error
            raise ValueError(
                f"{option} takes a Twisted server endpoint, such as "
                f"tcp:8080:interface=127.0.0.1, not {description!r}: {what}"
            ) from None
        port = _PORT.match(description)
        if port is not None and not 0 <= int(port[1]) <= 65535:
            raise ValueError(f"{option} takes a port from 0 to 65535, not {description!r}")
        tls = endpoint if isinstance(endpoint, TLSEndpoint) else None
        listeners.append(Listener(description, endpoint, tls))
    return listeners


def _endpoint(reactor: Any, description: str) -> Any:
    if description.startswith(SYSTEMD):
        return systemd_endpoint(reactor, description, initial_environment(), os.getpid())
    if description.startswith(_QUEUED) and "backlog=" not in description:
        try:
            return serverFromString(reactor, f"{description}:backlog={BACKLOG}")
        except Exception:  # noqa: S110 - the backlog may be given by position, without its name
            pass
    return serverFromString(reactor, description)


def _exit_cleanly(reactor: Any) -> None:
    """
    Make the process exit with status 0 after SIGTERM or SIGINT.  Without this, twistd sends itself
    the same signal again at the end (``twisted.application.app._exitWithSignal``).
    """

    def forget() -> None:
        reactor._exitSignal = None

    reactor.addSystemEventTrigger("after", "shutdown", forget)


def _fail(reactor: Any) -> None:
    """Stop the reactor, and exit with status 1 after twistd has cleaned up."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    atexit.register(leave)

    def stop() -> None:
        with suppress(ReactorNotRunning):  # a signal has stopped it
            reactor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):  # they would stop the reactor again
        signal.signal(number, signal.SIG_IGN)
    reactor.callFromThread(stop)
