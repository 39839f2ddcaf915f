"""
The options of ``twistd chatfiles``, from the command line and the environment.

A missing or invalid option ends the process with status 1 and one line, before the role listens
(reference/options, "Command line and environment").
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from twisted.python import usage

from chatfiles import __version__
from chatfiles.rules.database_url import absolute_database, has_password
from chatfiles.rules.virtual_paths import ROOTS
from chatfiles.runtime import option_values
from chatfiles.runtime.channel_options import NODE_OPTIONS, node_settings
from chatfiles.runtime.channel_workspace_options import (
    CHANNEL_OPTIONS,
    workspace_listen,
    workspace_reach,
)
from chatfiles.runtime.client_limits import CLIENT_LIMITS
from chatfiles.runtime.log_options import AUDIT_REQUIRED, LOG_OPTIONS
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM, WORKSPACE
from chatfiles.runtime.options_help import help_text
from chatfiles.runtime.resumable_options import RESUMABLE_OPTIONS
from chatfiles.runtime.settings import PlatformSettings, SharedSettings, WorkspaceSettings
from chatfiles.runtime.tls.options import PEER_OPTIONS, peer_files
from chatfiles.runtime.variables import variable
from chatfiles.runtime.write_options import WRITE_OPTIONS

__all__ = ["Options"]

#: Maximum columns of ``--help``.
WIDEST = 100

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_BOTH = (PLATFORM, WORKSPACE)
_OPEN_REGISTRATION = "open-registration"
_LISTEN_HELP = "Twisted server endpoint to listen on; may be given several times. Default: "

OPTIONS: tuple[Option, ...] = (
    Option("role", _BOTH, "platform or workspace (required)", option_values.role),
    Option(
        "listen",
        _BOTH,
        _LISTEN_HELP + "tcp:8080:interface=127.0.0.1 (platform), tcp:8000:… (workspace)",
        option_values.text,
        many=True,
    ),
    Option(
        "state-dir",
        (PLATFORM,),
        "directory of the embedded registry and the generated admin token, created 0700",
        option_values.text,
        "./chatfiles-state",
    ),
    Option(
        "database",
        (PLATFORM,),
        "sqlite:PATH or postgresql://USER@HOST/NAME. Default: sqlite:STATE-DIR/registry.db",
        option_values.text,
    ),
    Option(
        "registry-timeout",
        (PLATFORM,),
        "seconds that a request waits for the database before it is refused with 503",
        option_values.seconds,
        "2",
    ),
    Option(
        "admin-token-file",
        (PLATFORM,),
        "file of the admin token, generated if absent. Default: STATE-DIR/admin-token",
        option_values.text,
    ),
    Option(
        "upstream-allow",
        (PLATFORM,),
        "network that workspace URLs may resolve to besides public addresses, such as 10.0.0.0/8; "
        "may be given several times",
        option_values.text,
        many=True,
    ),
    Option(
        "trusted-proxy",
        (PLATFORM,),
        "network of proxies whose X-Forwarded-For is believed, such as 10.0.0.5/32, or unix for "
        "those on a Unix socket; may be given several times",
        option_values.text,
        many=True,
    ),
    Option(
        "public-url",
        (PLATFORM,),
        "URL at which clients reach the platform, such as https://files.example.com, with the "
        "prefix that a proxy removes; signed links begin with it. Default: they begin with "
        "/links/",
        option_values.public_url,
    ),
    Option(
        "root",
        (WORKSPACE,),
        "directory of a root, such as /workspace=/srv/ws1; may be given several times; naming any "
        "leaves out those not named. Default: each root is the directory of its name",
        option_values.root,
        many=True,
    ),
    Option(
        "configs-dir",
        (WORKSPACE,),
        "where the credential files are. Default: $CONFIGS_DIR, else the directory of /configs",
        option_values.text,
    ),
    Option(
        "platform", (WORKSPACE,), "URL of the platform to register with", option_values.base_url
    ),
    Option(
        "workspace-id", (WORKSPACE,), "UUID of this workspace, with --platform", option_values.uuid
    ),
    *CHANNEL_OPTIONS,
    Option(
        "deny",
        (WORKSPACE,),
        "glob of virtual paths never served, such as /home/*/.ssh/**; may be given several times",
        option_values.text,
        many=True,
    ),
    Option(
        "max-list-entries",
        (WORKSPACE,),
        "entries of one stream of a listing",
        option_values.count,
        "1000000",
    ),
    Option(
        "digest-inline-bytes",
        (WORKSPACE,),
        "largest file whose digest a download computes before it begins, in bytes or with a unit",
        option_values.size,
        "16777216",
    ),
    Option(
        "archive-max-entries",
        (WORKSPACE,),
        "files and directories of one archive",
        option_values.count,
        "100000",
    ),
    Option(
        "archive-max-bytes",
        (WORKSPACE,),
        "bytes in the files of one archive, or with a unit",
        option_values.size,
        "1024G",
    ),
    Option(
        "max-archives",
        (WORKSPACE,),
        "archives that are made at the same time",
        option_values.count,
        "4",
    ),
    Option(
        "connect-timeout", _BOTH, "seconds to connect to a workspace", option_values.seconds, "5"
    ),
    Option(
        "header-timeout",
        _BOTH,
        "seconds for the headers of a message, in total",
        option_values.seconds,
        "30",
    ),
    Option("idle-timeout", _BOTH, "seconds without progress", option_values.seconds, "60"),
    *WRITE_OPTIONS,
    *RESUMABLE_OPTIONS,
    *LOG_OPTIONS,
    Option("workers", _BOTH, "processes that serve requests", option_values.workers, "1"),
    Option(
        "drain-timeout",
        _BOTH,
        "seconds to finish transfers at shutdown",
        option_values.seconds,
        "30",
    ),
    Option(
        "fast-path",
        _BOTH,
        "off serves small files by the same code as all others, to compare the two; else on",
        option_values.on_or_off,
        "on",
    ),
    Option(
        "drain-delay",
        (PLATFORM,),
        "seconds at shutdown to continue accepting while /ready is 503, so that balancers notice",
        option_values.seconds_or_none,
        "0",
    ),
    *CLIENT_LIMITS,
    *NODE_OPTIONS,
    Option("ui", (PLATFORM,), "off serves no web page at /ui/", option_values.on_or_off, "on"),
    Option(
        _OPEN_REGISTRATION,
        (PLATFORM,),
        "let a workspace without any live token register without a credential",
        option_values.switch,
        "0",
    ),
    *PEER_OPTIONS,
)

_BY_NAME = {option.name: option for option in OPTIONS}
_FLAGS = [option.name for option in OPTIONS if option.parse is option_values.switch]


def _refuse_abbreviations(words: Sequence[str]) -> None:
    """
    Refuse abbreviated options.  Otherwise ``--admin-token=SECRET`` would mean
    ``--admin-token-file``.
    """
    for word in words:
        name = word[2:].partition("=")[0] if word.startswith("--") else ""
        is_short = any(each != name and each.startswith(name) for each in _BY_NAME)
        if name and is_short and name not in _BY_NAME:
            raise usage.UsageError(f"--{name} is not an option")


class _Given(str):
    """Text from the command line.  It overrides the environment even if it is the default."""

    __slots__ = ()


def _adder(option: Option) -> Callable[[Options, str], None]:
    def add(self: Options, value: str) -> None:
        self.given.setdefault(option.name, []).append(value)

    add.__doc__ = option.help
    return add


class Options(usage.Options):
    """
    The options that ``twistd`` parses.

    :param environment: contains the variables ``CHATFILES_*``; by default, that of the process.
    :ivar settings: the settings of the role, after parsing.
    :ivar arguments: the arguments that were parsed.
    """

    synopsis = "--role=platform|workspace [options]"
    optFlags: ClassVar[list[list[Any]]] = [[name, None, _BY_NAME[name].help] for name in _FLAGS]
    optParameters: ClassVar[list[list[Any]]] = [
        [option.name, None, option.default, option.help, _Given]
        for option in OPTIONS
        if not option.many and option.parse is not option_values.switch
    ]
    settings: PlatformSettings | WorkspaceSettings
    arguments: Sequence[str] = ()

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.given: dict[str, list[str]] = {}
        self.environment = os.environ if environment is None else environment
        super().__init__()

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse the options, without abbreviations.

        :param options: the arguments; ``None`` for those of the process.
        :raise SystemExit: an option is invalid; the text is one line.
        """
        self.arguments = tuple(sys.argv[1:] if options is None else options)
        try:
            _refuse_abbreviations(self.arguments)
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"chatfiles: {error} (see twistd chatfiles --help)") from None

    def getUsage(self, width: int | None = None) -> str:
        """:return: the text of ``--help`` below the first line."""
        return help_text(OPTIONS, width or min(shutil.get_terminal_size().columns, WIDEST))

    def opt_version(self) -> None:
        """Display the version of chatfiles and exit."""
        print(f"chatfiles {__version__}")
        raise SystemExit

    def postOptions(self) -> None:
        """
        Validate all options, and make `settings`.

        :raise twisted.python.usage.UsageError: an option is missing or invalid.
        """
        for name, value in self.items():
            if name in _FLAGS and value:
                self.given[name] = ["1"]
            elif isinstance(value, _Given):
                self.given[name] = [str(value)]
        role = self._one("role", None)
        if role is None:
            raise usage.UsageError("--role is required: platform or workspace")
        for name in self.given:
            if role not in _BY_NAME[name].roles:
                raise usage.UsageError(f"--{name} is not an option of --role={role}")
        self.settings = self._platform() if role == PLATFORM else self._workspace()

    @property
    def exposes_password(self) -> bool:
        """Whether the command line, which every user can read, contains the database's password."""
        return any(has_password(text) for text in self.given.get("database", ()))

    # -- values

    def _texts(self, option: Option) -> list[str]:
        if option.name in self.given:
            return self.given[option.name]
        value = self.environment.get(variable(option.name))
        if value is None or (option.many and not value.strip()):
            return [] if option.default is None else [option.default]
        value = value.rstrip("\r\n")
        lines = [line for line in value.splitlines() if line.strip()] if option.many else [value]
        if any(_CONTROL.search(line) for line in lines):
            name = variable(option.name)
            raise usage.UsageError(f"{name} takes text without control characters")
        return lines

    def _source_of(self, name: str) -> str:
        """:return: the source of an option's value: the option itself, or its variable."""
        return f"--{name}" if name in self.given else f"{variable(name)} in the environment"

    def _many(self, name: str) -> tuple[Any, ...]:
        option = _BY_NAME[name]
        try:
            return tuple(option.parse(text) for text in self._texts(option))
        except option_values.InvalidValue as error:
            source = "" if name in self.given else f"; the value is from {variable(name)}"
            raise usage.UsageError(f"--{name} takes {error}{source}") from None

    def _one(self, name: str, default: Any) -> Any:
        values = self._many(name)
        return values[-1] if values else default

    def _networks(self, name: str) -> tuple[str, ...]:
        return tuple(" ".join(self._many(name)).replace(",", " ").split())

    def _shared(self, port: int) -> SharedSettings:
        audit_log = self._one("audit-log", None)
        if self._one(AUDIT_REQUIRED, None) and audit_log is None:
            given = self._source_of(AUDIT_REQUIRED)
            raise usage.UsageError(f"--audit-log is required with {given}: the path of a file")
        return SharedSettings(
            listen=self._many("listen") or (f"tcp:{port}:interface=127.0.0.1",),
            max_request_bytes=self._one("max-request-bytes", None),
            max_file_bytes=self._one("max-file-bytes", None),
            connect_timeout=self._one("connect-timeout", None),
            header_timeout=self._one("header-timeout", None),
            idle_timeout=self._one("idle-timeout", None),
            drain_timeout=self._one("drain-timeout", None),
            max_resumable_bytes=self._one("max-resumable-bytes", None),
            fast_path=self._one("fast-path", None),
            workers=self._one("workers", None),
            json_log=self._one("log-format", None) == "json",
            metrics_listen=self._one("metrics-listen", None),
            audit_log=None if audit_log is None else os.path.abspath(audit_log),
            audit_required=self._one(AUDIT_REQUIRED, None),
        )

    def _platform(self) -> PlatformSettings:
        state_dir = os.path.abspath(self._one("state-dir", None))
        return PlatformSettings(
            shared=self._shared(8080),
            state_dir=state_dir,
            database=absolute_database(self._one("database", f"sqlite:{state_dir}/registry.db")),
            registry_timeout=self._one("registry-timeout", None),
            admin_token_file=os.path.abspath(
                self._one("admin-token-file", os.path.join(state_dir, "admin-token"))
            ),
            upstream_allow=self._networks("upstream-allow"),
            trusted_proxy=self._networks("trusted-proxy"),
            open_registration=self._one(_OPEN_REGISTRATION, None),
            drain_delay=self._one("drain-delay", None),
            ui=self._one("ui", None),
            public_url=self._one("public-url", ""),
            allow_origin=self._many("allow-origin"),
            max_transfers=self._one("max-transfers", None),
            max_transfers_per_workspace=self._one("max-transfers-per-workspace", None),
            max_transfers_per_token=self._one("max-transfers-per-token", None),
            max_refusals_per_client=self._one("max-refusals-per-client", None),
            **node_settings(self._one),
            peers=peer_files(self._one, "upstream-ca", "upstream-ca-only"),
        )

    def _workspace(self) -> WorkspaceSettings:
        named = self._many("root")
        roots = dict(named) or {root: os.fsdecode(root) for root in ROOTS}
        if len(roots) < len(named):
            raise usage.UsageError("--root takes each root once")
        configs = self.environment.get("CONFIGS_DIR") or roots.get(b"/configs", "/configs")
        reach = workspace_reach(self._one, self._source_of)
        shared = self._shared(8000)
        listen = workspace_listen(shared.listen, reach, self._source_of("listen"))
        return WorkspaceSettings(
            shared=replace(shared, listen=listen),
            roots=roots,
            configs_dir=os.path.abspath(self._one("configs-dir", configs)),
            platform=reach.platform,
            workspace_id=reach.workspace_id,
            advertise=reach.advertise,
            channel=reach.channel,
            deny=tuple(os.fsencode(glob) for glob in self._many("deny")),
            digest_inline_bytes=self._one("digest-inline-bytes", None),
            archive_max_entries=self._one("archive-max-entries", None),
            archive_max_bytes=self._one("archive-max-bytes", None),
            max_archives=self._one("max-archives", None),
            max_list_entries=self._one("max-list-entries", None),
            upload_expiry=self._one("upload-expiry", None),
            max_unfinished_uploads=self._one("max-unfinished-uploads", None),
            writable=self._many("writable"),
            write_in_place=self._many("write-in-place"),
            peers=peer_files(self._one, "platform-ca"),
        )


for _option in OPTIONS:
    if _option.many:
        setattr(Options, "opt_" + _option.name.replace("-", "_"), _adder(_option))
