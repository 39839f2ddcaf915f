"""
Tests for `chatfiles.rules.urls.parse_base_url`, and that everything that takes such a URL calls it.
"""

from __future__ import annotations

from urllib.request import Request

from click.testing import CliRunner
from hyperlink import URL
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli import cli
from chatfiles.rules.urls import parse_base_url
from chatfiles.runtime.options import Options
from chatfiles.workspace.registration.client import RegistryClient

ID = "5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10"

GOOD = (
    ("http://h", "http://h"),
    ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
    ("https://h/files//", "https://h/files"),
    ("http://[::1]:80", "http://[::1]:80"),
    ("http://[::ffff:192.0.2.1]", "http://[::ffff:192.0.2.1]"),
    ("HTTPS://Files.example.com:8443/a%20b/~c", "https://Files.example.com:8443/a%20b/~c"),
    ("http://my_host:65535/a:b@c", "http://my_host:65535/a:b@c"),
)

WRONG = (
    ("", "begin with"),
    ("h:80", "begin with http:// or https://"),
    ("//h", "begin with"),
    ("ftp://h", "begin with"),
    ("file:///etc/passwd", "begin with"),
    ("http:h", "begin with http:// or https://"),
    ("http://", "have a host"),
    ("http:///x", "have a host"),
    ("http://:80", "have a host"),
    ("http://u:hidden@h", "user name or password"),
    ("http://u@h", "user name or password"),
    ("http://@h", "user name or password"),
    ("http://h?x", "a query"),
    ("http://h/?", "a query"),
    ("http://h#x", "a fragment"),
    ("http://h:", "the port"),
    ("http://h:0", "the port"),
    ("http://h:65536", "the port"),
    ("http://h:x", "the port"),
    ("http://h:+1", "the port"),
    ("http://[::1", "IPv6"),
    ("http://[]", "IPv6"),
    ("http://[1]:80", "IPv6"),
    ("http://[::1]x", "IPv6"),
    ("http://::1", "have a host"),
    ("http://a,b", "the host name"),
    ("http://h/a b", "spaces"),
    ("http://h\n", "control characters"),
    ("http://ä", "ASCII"),
    ("http://h/%zz", "percent-encoded"),
    ("http://h/<x>", "percent-encoded"),
    ("http://h\\x", "backslashes"),
)


class BaseURLTests(SynchronousTestCase):
    """`parse_base_url`."""

    def test_good(self) -> None:
        """A valid URL is accepted, and slashes at its end are removed."""
        for text, kept in GOOD:
            self.assertEqual(parse_base_url(text), kept)

    def test_wrong(self) -> None:
        """An invalid URL is refused with a reason that does not show its password."""
        for text, says in WRONG:
            with self.assertRaises(ValueError, msg=text) as caught:
                parse_base_url(text)
            self.assertIn(says, str(caught.exception), text)
            self.assertNotIn("hidden", str(caught.exception))

    @given(
        st.lists(
            st.sampled_from([*":/[]@?#%. _~\\", "http://", "https://", "h", "::1", "80", "%20"]),
            max_size=8,
        )
    )
    def test_read_alike(self, parts: list[str]) -> None:
        """treq and urllib read the same host and port from a URL that is accepted."""
        text = "http://" + "".join(parts)
        try:
            kept = parse_base_url(text)
        except ValueError:
            return
        self.assertEqual(parse_base_url(kept), kept)
        treq, urllib = URL.from_text(kept), Request(kept)
        host = f"[{treq.host}]" if ":" in treq.host else treq.host
        self.assertIn(urllib.host, (host, f"{host}:{treq.port}"))


class UserTests(SynchronousTestCase):
    """Options and classes that take such a URL."""

    def test_workspace(self) -> None:
        """
        ``--platform`` of a workspace refuses an invalid URL, with an error that names the option.
        """
        for text, says in WRONG:
            given_options = [f"--platform={text}", "--advertise=http://h", f"--workspace-id={ID}"]
            with self.assertRaises(SystemExit, msg=text) as caught:
                Options({}).parseOptions(["--role=workspace", *given_options])
            line = str(caught.exception)
            self.assertIn("--platform takes a URL", line)
            self.assertIn(says, line)
            self.assertNotIn("\n", line)

    def test_registration(self) -> None:
        """The client with which a workspace registers refuses it too."""
        client = RegistryClient(Clock(), object(), "http://h/base/")  # type: ignore[arg-type]
        self.assertEqual(client.base, "http://h/base/")
        for text, _ in WRONG:
            with self.assertRaises(ValueError, msg=text):
                RegistryClient(Clock(), object(), text)  # type: ignore[arg-type]

    def test_console_script(self) -> None:
        """``--platform`` of the console script refuses it too."""
        for text, says in WRONG:
            if not text:
                continue
            done = CliRunner().invoke(cli, [f"--platform={text}", "workspace", "list"])
            self.assertEqual(done.exit_code, 2, text)
            self.assertIn(says, " ".join(done.output.split()), text)
