"""
Options: every row of the contract's table, from the command line and from the environment.
"""

from __future__ import annotations

import os
import re
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles import __version__
from chatfiles.runtime.options import OPTIONS, Options
from chatfiles.runtime.settings import PlatformSettings, SharedSettings, WorkspaceSettings

ID = "5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10"
#: Options that are not valid alone; `tests.runtime.test_channel_workspace_options` has them.
NEED_OTHERS = {"channel", "channel-idle", "channel-max", "insecure-platform"}
FLAGS = ("open-registration", "audit-required", "upstream-ca-only", "channel", "insecure-platform")
ENROL = [f"--workspace-id={ID}", "--advertise=http://ws.example:8000"]


def parsed(*arguments: str, **environment: str) -> Any:
    """:return: the settings for these arguments and ``CHATFILES_*`` (or other) variables."""
    options = Options(environment)
    options.parseOptions(list(arguments))
    return options.settings


def platform(*arguments: str, **environment: str) -> PlatformSettings:
    settings = parsed("--role=platform", *arguments, **environment)
    assert isinstance(settings, PlatformSettings)
    return settings


def exposes(*arguments: str, **environment: str) -> bool:
    options = Options(environment)
    options.parseOptions(["--role=platform", *arguments])
    return options.exposes_password


def workspace(*arguments: str, **environment: str) -> WorkspaceSettings:
    settings = parsed("--role=workspace", *arguments, **environment)
    assert isinstance(settings, WorkspaceSettings)
    return settings


class DefaultTests(SynchronousTestCase):
    """Settings without any options."""

    def test_platform(self) -> None:
        """The defaults are the documented ones."""
        here = os.path.abspath("chatfiles-state")
        self.assertEqual(
            platform(),
            PlatformSettings(
                shared=SharedSettings(
                    ("tcp:8080:interface=127.0.0.1",), 104857600, 104857600, 5, 30, 60, 30
                ),
                state_dir=here,
                database=f"sqlite:{here}/registry.db",
                admin_token_file=f"{here}/admin-token",
                upstream_allow=(),
                trusted_proxy=(),
                open_registration=False,
                drain_delay=0.0,
                registry_timeout=2.0,
            ),
        )

    def test_workspace(self) -> None:
        """The defaults are the documented ones."""
        roots = {b"/configs": "/configs", b"/workspace": "/workspace"}
        roots |= {b"/home": "/home", b"/plugins": "/plugins"}
        self.assertEqual(
            workspace(),
            WorkspaceSettings(
                shared=SharedSettings(
                    ("tcp:8000:interface=127.0.0.1",), 104857600, 104857600, 5, 30, 60, 30
                ),
                roots=roots,
                configs_dir="/configs",
                platform=None,
                workspace_id=None,
                advertise=None,
                deny=(),
                digest_inline_bytes=16777216,
                archive_max_entries=100_000,
                archive_max_bytes=1 << 40,
                max_archives=4,
            ),
        )

    def test_what_follows_the_state_directory(self) -> None:
        """The registry and the admin token's file move with the state directory."""
        settings = platform("--state-dir=/var/lib/x")
        self.assertEqual(settings.database, "sqlite:/var/lib/x/registry.db")
        self.assertEqual(settings.admin_token_file, "/var/lib/x/admin-token")

    def test_other_directory(self) -> None:
        """
        Relative paths are made absolute, so that ``twistd --rundir`` does not change what they
        refer to.
        """
        settings = platform("--state-dir=s", "--database=sqlite:s/r.db", "--admin-token-file=s/t")
        here = os.path.abspath("s")
        self.assertEqual(settings.state_dir, here)
        self.assertEqual(settings.database, f"sqlite:{here}/r.db")
        self.assertEqual(settings.admin_token_file, f"{here}/t")
        peers = platform("--upstream-certificate=s/c").peers
        self.assertEqual((peers.certificate, peers.key), (f"{here}/c", ""))
        for kept in ("postgresql://h/d", "sqlite:", "sqlite:/a/b", "other:a"):
            self.assertEqual(platform(f"--database={kept}").database, kept)

    def test_configs_directory(self) -> None:
        """
        The directory of credentials is that of the option, ``CHATFILES_CONFIGS_DIR``,
        ``CONFIGS_DIR``, the ``/configs`` root or the default; the first one that is set wins.
        """
        root = "--root=/configs=/srv/c"
        for arguments, environment, expected in [
            ([root], {}, "/srv/c"),
            (["--root=/workspace=/srv/w"], {}, "/configs"),
            ([root], {"CONFIGS_DIR": "/env"}, "/env"),
            ([root], {"CONFIGS_DIR": ""}, "/srv/c"),
            ([root], {"CONFIGS_DIR": "/env", "CHATFILES_CONFIGS_DIR": "/own"}, "/own"),
            (
                ["--configs-dir=/said"],
                {"CONFIGS_DIR": "/e", "CHATFILES_CONFIGS_DIR": "/o"},
                "/said",
            ),
            (["--configs-dir=rel"], {}, os.path.abspath("rel")),
        ]:
            self.assertEqual(workspace(*arguments, **environment).configs_dir, expected)


#: role, option, text, attribute, value, another text.
ROWS: list[tuple[str, str, str, str, object, str]] = [
    ("platform", "listen", "unix:/run/x", "shared.listen", ("unix:/run/x",), "tcp:1"),
    (
        "workspace",
        "listen",
        "tcp:1:interface=\\:\\:",
        "shared.listen",
        ("tcp:1:interface=\\:\\:",),
        "x",
    ),
    ("platform", "state-dir", "/s", "state_dir", "/s", "/other"),
    ("platform", "database", "postgresql://h/d", "database", "postgresql://h/d", "sqlite:x"),
    ("platform", "admin-token-file", "/a", "admin_token_file", "/a", "/other"),
    ("platform", "upstream-allow", "10.0.0.0/8", "upstream_allow", ("10.0.0.0/8",), "fd00::/8"),
    ("platform", "trusted-proxy", "10.0.0.5", "trusted_proxy", ("10.0.0.5",), "unix"),
    (
        "platform",
        "public-url",
        "HTTPS://h:1/p/",
        "public_url",
        "https://h:1/p",
        "http://other",
    ),
    ("platform", "drain-delay", "2.5", "drain_delay", 2.5, "0"),
    ("platform", "registry-timeout", "2.5", "registry_timeout", 2.5, "9"),
    ("platform", "max-transfers", "7", "max_transfers", 7, "8"),
    ("platform", "max-transfers-per-workspace", "7", "max_transfers_per_workspace", 7, "8"),
    ("platform", "max-transfers-per-token", "7", "max_transfers_per_token", 7, "8"),
    ("platform", "max-refusals-per-client", "0", "max_refusals_per_client", 0, "8"),
    ("platform", "node-url", "http://10.0.0.3:1/", "node_url", "http://10.0.0.3:1", "unix:/a"),
    ("platform", "node-listen", "tcp:8081", "node_listen", "tcp:8081", "tcp:1"),
    ("platform", "ui", "off", "ui", False, "on"),
    ("platform", "upstream-ca", "/c", "peers.authorities", "/c", "/other"),
    ("platform", "upstream-ca-only", "", "peers.only", True, "0"),
    ("workspace", "platform-ca", "/c", "peers.authorities", "/c", "/other"),
    ("workspace", "upstream-certificate", "/c", "peers.certificate", "/c", "/other"),
    ("platform", "upstream-key", "/k", "peers.key", "/k", "/other"),
    ("platform", "open-registration", "", "open_registration", True, "0"),
    ("workspace", "root", "/home=/h", "roots", {b"/home": "/h"}, "/plugins=/p"),
    ("workspace", "configs-dir", "/c", "configs_dir", "/c", "/other"),
    ("workspace", "platform", "https://h:1/p", "platform", "https://h:1/p", "http://other"),
    ("workspace", "workspace-id", ID.upper(), "workspace_id", ID, ID[::-1]),
    ("workspace", "advertise", "http://[::1]:8", "advertise", "http://[::1]:8", "http://other"),
    ("workspace", "deny", "/home/é/**", "deny", ("/home/é/**".encode(),), "/x"),
    ("workspace", "writable", "/home/a/", "writable", (b"/home/a",), "/workspace"),
    ("workspace", "write-in-place", "/home/é", "write_in_place", ("/home/é".encode(),), "/home"),
    ("workspace", "max-list-entries", "7", "max_list_entries", 7, "8"),
    ("workspace", "writable", "/workspace/o/", "writable", (b"/workspace/o",), "/home"),
    ("workspace", "write-in-place", "/home/f", "write_in_place", (b"/home/f",), "/home"),
    ("workspace", "max-resumable-bytes", "0", "shared.max_resumable_bytes", 0, "8"),
    ("workspace", "upload-expiry", "7", "upload_expiry", 7.0, "8"),
    ("workspace", "max-unfinished-uploads", "7", "max_unfinished_uploads", 7, "8"),
    ("platform", "allow-origin", "https://a.b", "allow_origin", (b"https://a.b",), "http://c"),
    ("workspace", "digest-inline-bytes", "1M", "digest_inline_bytes", 1 << 20, "8"),
    ("workspace", "archive-max-entries", "7", "archive_max_entries", 7, "8"),
    ("workspace", "archive-max-bytes", "2G", "archive_max_bytes", 2 << 30, "8"),
    ("workspace", "max-archives", "7", "max_archives", 7, "8"),
    ("platform", "max-request-bytes", "7", "shared.max_request_bytes", 7, "8"),
    ("workspace", "max-file-bytes", "7", "shared.max_file_bytes", 7, "8"),
    ("platform", "connect-timeout", "5", "shared.connect_timeout", 5.0, "8"),
    ("platform", "header-timeout", "0.5", "shared.header_timeout", 0.5, "8"),
    ("workspace", "idle-timeout", "60", "shared.idle_timeout", 60.0, "8"),
    ("workspace", "drain-timeout", "100", "shared.drain_timeout", 100.0, "8"),
    ("platform", "fast-path", "off", "shared.fast_path", False, "on"),
    ("platform", "log-format", "json", "shared.json_log", True, "text"),
    ("workspace", "metrics-listen", "tcp:9464", "shared.metrics_listen", "tcp:9464", "tcp:1"),
    ("platform", "audit-log", "/a", "shared.audit_log", "/a", "/b"),
    ("workspace", "audit-required", "", "shared.audit_required", True, "0"),
    ("platform", "workers", "4", "shared.workers", 4, "2"),
    ("workspace", "workers", "64", "shared.workers", 64, "2"),
]


class RowTests(SynchronousTestCase):
    """Each option, on the command line and in the environment."""

    def value(self, settings: Any, path: str) -> Any:
        for name in path.split("."):
            settings = getattr(settings, name)
        return settings

    def extra(self, name: str) -> list[str]:
        needed = {
            "platform": ENROL,
            "node-url": ["--node-listen=tcp:1"],
            "node-listen": ["--node-url=http://10.0.0.3:1"],
            "audit-required": ["--audit-log=/a"],
            "upstream-ca-only": ["--upstream-ca=/c"],
            "upstream-key": ["--upstream-certificate=/c"],
        }
        return needed.get(name, [])

    def test_every_option_is_in_the_table(self) -> None:
        """Every option has a row, and so a test."""
        names = {name[4:].replace("_", "-") for name in dir(Options) if name.startswith("opt_")}
        names |= {row[0] for row in Options.optParameters + Options.optFlags}
        rows = {row[1] for row in ROWS} | NEED_OTHERS
        self.assertEqual(names - {"help", "version", "role"}, rows)

    def test_command_line(self) -> None:
        """Each option sets its attribute."""
        for role, name, text, path, value, _ in ROWS:
            argument = f"--{name}={text}" if text else f"--{name}"
            settings = parsed(f"--role={role}", argument, *self.extra(name))
            self.assertEqual(self.value(settings, path), value, name)

    def test_environment(self) -> None:
        """
        Each variable sets its attribute, so that a container can be configured by its environment.
        """
        for role, name, text, path, value, _ in ROWS:
            variable = "CHATFILES_" + name.upper().replace("-", "_")
            given = {"CHATFILES_ROLE": role, variable: text or "1"}
            self.assertEqual(self.value(parsed(*self.extra(name), **given), path), value, name)

    def test_sizes(self) -> None:
        """A size may have a unit, which is a power of 1024."""
        for text, size in (("7", 7), ("2K", 2048), ("100M", 104857600), ("1g", 1 << 30)):
            self.assertEqual(platform(f"--max-file-bytes={text}").shared.max_file_bytes, size)

    def test_version(self) -> None:
        """``--version`` prints the version of chatfiles, not that of Twisted."""
        with redirect_stdout(StringIO()) as printed:
            self.assertRaises(SystemExit, Options({}).parseOptions, ["--version"])
        self.assertEqual(printed.getvalue(), f"chatfiles {__version__}\n")

    def test_control_characters(self) -> None:
        """A line end after a value is removed; any other control character is refused."""
        self.assertEqual(platform(CHATFILES_STATE_DIR="/s\r\n").state_dir, "/s")
        for value in ("/s\t", "/s\x1b[1m", "/s\nb", "/s\x7f"):
            with self.assertRaisesRegex(SystemExit, "CHATFILES_STATE_DIR takes text without"):
                platform(CHATFILES_STATE_DIR=value)

    def test_command_line_wins(self) -> None:
        """The command line takes precedence over the environment, even if it gives the default."""
        for role, name, text, path, value, other in ROWS:
            argument = f"--{name}={text}" if text else f"--{name}"
            variable = "CHATFILES_" + name.upper().replace("-", "_")
            settings = parsed(f"--role={role}", argument, *self.extra(name), **{variable: other})
            self.assertEqual(self.value(settings, path), value, name)
        settings = parsed("--role=workspace", CHATFILES_ROLE="platform")
        self.assertIsInstance(settings, WorkspaceSettings)

    def test_other_role(self) -> None:
        """
        An option of the other role is refused; its variable is ignored, so that one environment can
        serve both roles.
        """
        both = {option.name for option in OPTIONS if len(option.roles) == 2}
        for role, name, text, *_ in ROWS:
            other = "workspace" if role == "platform" else "platform"
            argument = f"--{name}={text}" if text else f"--{name}"
            variable = "CHATFILES_" + name.upper().replace("-", "_")
            if name in both:
                parsed(f"--role={other}", argument, *self.extra(name))
                continue
            with self.assertRaises(SystemExit) as raised:
                parsed(f"--role={other}", argument)
            self.assertIn(f"--{name} is not an option of --role={other}", str(raised.exception))
            self.assertEqual(
                parsed(f"--role={other}", **{variable: "!"}), parsed(f"--role={other}")
            )

    def test_many(self) -> None:
        """Options that can be repeated keep all values, and spaces do not split a path."""
        listen = ["--listen=tcp:1", "--listen=tcp:2"]
        self.assertEqual(platform(*listen).shared.listen, ("tcp:1", "tcp:2"))
        self.assertEqual(workspace(CHATFILES_DENY="/home/a b\n\n/x\n").deny, (b"/home/a b", b"/x"))
        self.assertEqual(workspace(CHATFILES_DENY=" \n").deny, ())
        self.assertEqual(
            workspace("--root=/home=/h", "--root=/configs=c", CHATFILES_ROOT="/plugins=/p").roots,
            {b"/home": "/h", b"/configs": os.path.abspath("c")},
        )
        networks = platform("--upstream-allow=10.0.0.0/8,fd00::/8", "--upstream-allow=1.1.1.1")
        self.assertEqual(networks.upstream_allow, ("10.0.0.0/8", "fd00::/8", "1.1.1.1"))
        proxies = platform("--trusted-proxy=10.0.0.5, unix", "--trusted-proxy=fd00::/8")
        self.assertEqual(proxies.trusted_proxy, ("10.0.0.5", "unix", "fd00::/8"))
        self.assertEqual(platform("--database=a", "--database=b").database, "b")

    def test_switch(self) -> None:
        """A switch is off if its variable says no."""
        for text, on in [("1", True), ("true", True), ("YES", True), ("0", False), ("", False)]:
            settings = platform(CHATFILES_OPEN_REGISTRATION=text)
            self.assertIs(settings.open_registration, on, text)


class WrongTests(SynchronousTestCase):
    """Errors, which end the process with one line that names the option and what it takes."""

    def assert_wrong(self, line: str, *arguments: str, **environment: str) -> None:
        with self.assertRaises(SystemExit) as raised:
            parsed(*arguments, **environment)
        text = str(raised.exception)
        self.assertTrue(text.startswith("chatfiles: " + line), text)
        self.assertNotIn("\n", text)
        self.assertNotIn("hidden", text)

    def test_abbreviations(self) -> None:
        """Abbreviated options are refused, so that a secret is not taken for the name of a file."""
        for word in ("--admin-token=hidden", "--admin-token", "--li=tcp:1"):
            name = word.partition("=")[0]
            self.assert_wrong(f"{name} is not an option", "--role=platform", word)

    def test_password(self) -> None:
        """
        A password in the database's URL is detected on the command line, where all users can read
        it.
        """
        for url in ("postgresql://u:hidden@h/d", "postgres://h/d?password=hidden"):
            self.assertTrue(exposes(f"--database={url}", CHATFILES_DATABASE="x"))
            self.assertFalse(exposes(CHATFILES_DATABASE=url))
        for url in ("postgresql://u@h:1/d", "sqlite:a:b@c"):
            self.assertFalse(exposes(f"--database={url}"))

    def test_role(self) -> None:
        """Without a valid role, the error names the roles."""
        self.assert_wrong("--role is required: platform or workspace")
        self.assert_wrong("--role takes platform or workspace", "--role=both")
        self.assert_wrong("--role takes platform or workspace", CHATFILES_ROLE="")

    def test_values(self) -> None:
        """An invalid value is refused at the start."""
        for role, name, takes, values in [
            (
                "platform",
                "max-request-bytes",
                "a whole number",
                ["", "0", "0M", "-1", "1kB", "1 K", "K", "1T", "1.5", "9" * 16],
            ),
            ("workspace", "max-file-bytes", "a whole number", ["x", "0", "１"]),
            (
                "platform",
                "connect-timeout",
                "a number of seconds",
                ["", "0", "0.0", "-1", "inf", "1e3"],
            ),
            ("platform", "header-timeout", "a number of seconds", ["nan", "5s"]),
            ("workspace", "idle-timeout", "a number of seconds", ["0.000", " 5"]),
            ("workspace", "drain-timeout", "a number of seconds", ["forever"]),
            ("platform", "fast-path", "on or off", ["", "1", "yes", "On"]),
            (
                "platform",
                "workers",
                "a number of processes",
                ["", "0", "65", "-1", "1.5", "\u0661"],
            ),
            ("platform", "drain-delay", "a number of seconds", ["", "-1", "5s", "1e3"]),
            ("platform", "max-resumable-bytes", "a whole number", ["", "x", "-1"]),
            ("platform", "allow-origin", "an origin", ["*", "null", "https://a/b", "https://A"]),
            ("platform", "registry-timeout", "a number of seconds", ["", "0", "-1", "5s"]),
            (
                "workspace",
                "root",
                "ROOT=DIRECTORY",
                ["/home", "/home=", "/etc=/etc", "home=/h", "=/h"],
            ),
            (
                "workspace",
                "writable",
                "a directory at or below a root",
                ["/", "/tmp", "out", "/workspace/../x"],
            ),
            ("workspace", "write-in-place", "a directory at or below a root", ["", "/x"]),
            ("workspace", "workspace-id", "a UUID", ["1", "{" + ID + "}", ID.replace("-", "")]),
            (
                "workspace",
                "platform",
                "a URL",
                ["h", "ftp://h", "http://", "http://u@h", "http://h:x"],
            ),
            (
                "workspace",
                "advertise",
                "a URL",
                ["//h", "http://h/?q", "http://h:0", "http://127.1:8000", "http://ws.:80"],
            ),
            ("platform", "state-dir", "a value that is not empty", [""]),
            ("platform", "database", "a value that is not empty", [""]),
            ("platform", "listen", "a value that is not empty", [""]),
        ]:
            for value in values:
                line = f"--{name} takes {takes}"
                self.assert_wrong(line, f"--role={role}", f"--{name}={value}")
                if value:
                    variable = "CHATFILES_" + name.upper().replace("-", "_")
                    self.assert_wrong(line, f"--role={role}", **{variable: value})
        self.assert_wrong(
            "--max-transfers takes a whole number greater than 0, such as 100; the value is from"
            " CHATFILES_MAX_TRANSFERS",
            "--role=platform",
            CHATFILES_MAX_TRANSFERS="all",
        )
        self.assert_wrong(
            "--open-registration takes", "--role=platform", CHATFILES_OPEN_REGISTRATION="maybe"
        )

    def test_enrolment(self) -> None:
        """A workspace that registers needs its id and its URL."""
        url = "--platform=http://h"
        for given, missing in ((ENROL[1], "--workspace-id"), (ENROL[0], "--advertise")):
            self.assert_wrong(
                f"{missing} is required with --platform", "--role=workspace", url, given
            )
            self.assert_wrong(
                f"{missing} is required with CHATFILES_PLATFORM in the environment",
                "--role=workspace",
                given,
                CHATFILES_PLATFORM="http://h",
            )
        self.assertEqual(workspace(url, *ENROL).workspace_id, ID)

    def test_command_line(self) -> None:
        """A mistake on the command line gets one line, not a traceback or a page of help."""
        self.assert_wrong("option --colour not recognized", "--role=platform", "--colour=red")
        self.assert_wrong("option --listen requires argument", "--role=platform", "--listen")
        self.assert_wrong("Wrong number of arguments", "--role=platform", "more")
        self.assert_wrong("option --open-registration must not", "--open-registration=1")

    def test_alone(self) -> None:
        """An option that lacks another one is refused."""
        for option, missing in (
            ("--audit-required", "--audit-log is required with --audit-required"),
            ("--upstream-ca-only", "--upstream-ca is required with --upstream-ca-only"),
            ("--upstream-key=/k", "--upstream-certificate is required with --upstream-key"),
        ):
            self.assert_wrong(missing, "--role=platform", option)

    def test_help(self) -> None:
        """
        The help lists each option once, below the roles that have it, with what it takes; its
        lines fit the terminal.
        """
        for width in (40, 80, 100):
            text = Options({}).getUsage(width=width)
            sections = re.split(r"\n(?:Options of|Without a role)", text)[1:4]
            for section, roles in zip(
                sections, (("platform", "workspace"), ("platform",), ("workspace",)), strict=True
            ):
                expected = [option for option in OPTIONS if option.roles == roles]
                listed = re.findall(r"^  --([a-z-]+)(=[A-Z=]+)?", section, re.MULTILINE)
                self.assertEqual([name for name, _ in listed], [each.name for each in expected])
                for name, takes in listed:
                    self.assertEqual(not takes, name in FLAGS, name)
            lines = text[text.index("Options of") :].splitlines()
            self.assertEqual([line for line in lines if len(line) > max(width, 66)], [])

    def test_examples_of_the_help(self) -> None:
        """The command lines of the help are valid."""
        text = Options({}).getUsage(width=80).replace("\\\n", "")
        examples = re.findall(r"^    twistd -n chatfiles (.*)$", text, re.MULTILINE)
        self.assertEqual(len(examples), 4)
        for example in examples:
            Options({}).parseOptions(example.split())

    def test_no_secrets(self) -> None:
        """No option takes a secret, as all users of the machine can read the command line."""
        for name in ("admin-token", "token", "inbound-secret"):
            self.assertNotIn("--" + name + "=", Options({}).getUsage())
