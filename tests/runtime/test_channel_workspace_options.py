"""
The options that say how a workspace is reached.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.settings import ChannelSettings
from tests.runtime.test_options import ID, workspace

URL = "--platform=https://files.example.com"
REACHED = (URL, f"--workspace-id={ID}")


class ChannelTests(SynchronousTestCase):
    """``--channel`` and what belongs to it."""

    def refused(self, text: str, *arguments: str, **environment: str) -> None:
        error = self.assertRaises(SystemExit, workspace, *arguments, **environment)
        self.assertIn(text, str(error))
        self.assertNotIn("\n", str(error))

    def test_defaults(self) -> None:
        """4 connections wait, and there are at most 64."""
        settings = workspace(*REACHED, "--channel")
        self.assertEqual(settings.channel, ChannelSettings(4, 64))
        self.assertEqual(settings.shared.listen, ("tcp:8000:interface=127.0.0.1",))
        self.assertIsNone(settings.advertise)

    def test_numbers(self) -> None:
        """Both numbers are options, also in the environment."""
        given = workspace(*REACHED, "--channel", "--channel-idle=2", CHATFILES_CHANNEL_MAX="2")
        self.assertEqual(given.channel, ChannelSettings(2, 2))
        self.assertEqual(
            workspace(*REACHED, CHATFILES_CHANNEL="1", CHATFILES_CHANNEL_IDLE="9").channel,
            ChannelSettings(9, 64),
        )
        for name in ("idle", "max"):
            self.refused(f"--channel-{name} takes a whole number", f"--channel-{name}=0")
        self.refused(
            "--channel-max takes at least --channel-idle, which is 4, not 3",
            *REACHED,
            "--channel",
            "--channel-max=3",
        )

    def test_without_it(self) -> None:
        """A workspace that is dialled has no channel, whatever the numbers are."""
        self.assertIsNone(workspace("--channel-idle=9").channel)
        self.assertIsNone(workspace(*REACHED, "--advertise=http://ws:8000").channel)

    def test_exactly_one(self) -> None:
        """With ``--platform``, one of ``--channel`` and ``--advertise`` is needed, and only one."""
        self.refused("--advertise is required with --platform", *REACHED)
        self.refused("or --channel", *REACHED)
        both = "--advertise and --channel exclude each other"
        self.refused(both, *REACHED, "--channel", "--advertise=http://ws:8000")
        self.refused(
            "CHATFILES_ADVERTISE in the environment and --channel exclude each other",
            *REACHED,
            "--channel",
            CHATFILES_ADVERTISE="http://ws:8000",
        )
        self.refused("--platform is required with --channel", "--channel")

    def test_listening(self) -> None:
        """``--listen=none`` opens no port; it needs the channel."""
        self.assertEqual(workspace(*REACHED, "--channel", "--listen=none").shared.listen, ())
        given = workspace(*REACHED, "--channel", CHATFILES_LISTEN="none")
        self.assertEqual(given.shared.listen, ())
        self.refused("--channel is required with --listen=none", "--listen=none")
        self.refused(
            "--listen takes either none or endpoints",
            *REACHED,
            "--channel",
            "--listen=none",
            "--listen=tcp:0",
        )

    def test_without_encryption(self) -> None:
        """An http URL needs a further option, unless it is of this machine."""

        def channel(url: str, *more: str, **environment: Any) -> object:
            given = (f"--platform={url}", f"--workspace-id={ID}", "--channel", *more)
            return workspace(*given, **environment).channel

        for url in (
            "http://localhost",
            "HTTP://localhost:80/x",
            "http://127.0.0.1:8080",
            "http://127.9.9.9/",
            "http://[::1]:8080",
            "https://files.example.com",
        ):
            self.assertIsNotNone(channel(url), url)
        for url in (
            "http://files.example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
        ):
            text = "--channel takes an https URL for --platform"
            self.refused(text, f"--platform={url}", f"--workspace-id={ID}", "--channel")
            self.assertIsNotNone(channel(url, "--insecure-platform"))
            self.assertIsNotNone(channel(url, CHATFILES_INSECURE_PLATFORM="1"))
