"""
The options that say how a workspace is reached (reference/channel-workspace, "Options").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from twisted.python import usage

from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import WORKSPACE
from chatfiles.runtime.settings import ChannelSettings

__all__ = ["CHANNEL_OPTIONS", "NOWHERE", "Reach", "workspace_listen", "workspace_reach"]

#: The value of ``--listen`` with which a workspace does not listen.
NOWHERE: Final = "none"

_LOCAL: Final = re.compile(
    r"http://(?:localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\])(?::[0-9]+)?(?:/|\Z)",
    re.IGNORECASE,
)

CHANNEL_OPTIONS: Final = (
    Option(
        "advertise",
        (WORKSPACE,),
        "URL at which the platform reaches this workspace, with --platform",
        option_values.workspace_url,
    ),
    Option(
        "channel",
        (WORKSPACE,),
        "connect to the platform and be reached over these connections, instead of --advertise",
        option_values.switch,
        "0",
    ),
    Option(
        "channel-idle",
        (WORKSPACE,),
        "connections of --channel that wait for requests",
        option_values.count,
        "4",
    ),
    Option(
        "channel-max",
        (WORKSPACE,),
        "connections of --channel in all, which is how many transfers can run",
        option_values.count,
        "64",
    ),
    Option(
        "insecure-platform",
        (WORKSPACE,),
        "let --channel connect to an http URL of another machine: anyone between can read the "
        "token and the files",
        option_values.switch,
        "0",
    ),
)


class Reach(NamedTuple):
    """
    How a workspace is reached.

    :param platform: base URL of its platform; ``None`` if it does not register.
    :param workspace_id: its UUID.
    :param advertise: the URL at which the platform connects to it.
    :param channel: the connections that it makes itself.
    """

    platform: str | None
    workspace_id: str | None
    advertise: str | None
    channel: ChannelSettings | None


def workspace_reach(value: Callable[[str, Any], Any], source_of: Callable[[str], str]) -> Reach:
    """
    :param value: returns the value of an option, or its second argument.
    :param source_of: returns where the value of an option comes from.
    :return: how the workspace is reached.
    :raise twisted.python.usage.UsageError: an option lacks or excludes another one.
    """
    platform, workspace_id = value("platform", None), value("workspace-id", None)
    advertise, uses_channel = value("advertise", None), value("channel", None)
    is_insecure, channel = value("insecure-platform", None), _settings(value)
    if platform is not None:
        given = source_of("platform")
        if workspace_id is None:
            raise usage.UsageError(f"--workspace-id is required with {given}: a UUID")
        if advertise is None and not uses_channel:
            raise usage.UsageError(
                f"--advertise is required with {given}: the URL at which the platform reaches this "
                "workspace; or --channel, if the platform cannot reach it"
            )
    if not uses_channel:
        return Reach(platform, workspace_id, advertise, None)
    given = source_of("channel")
    if platform is None:
        raise usage.UsageError(f"--platform is required with {given}: the URL to connect to")
    if advertise is not None:
        raise usage.UsageError(f"{source_of('advertise')} and {given} exclude each other")
    is_plain = platform.lower().startswith("http:")
    if is_plain and not is_insecure and not _LOCAL.match(platform):
        raise usage.UsageError(
            f"{given} takes an https URL for {source_of('platform')}, or http on this machine; "
            "--insecure-platform allows it for all, without encryption"
        )
    return Reach(platform, workspace_id, None, channel)


def _settings(value: Callable[[str, Any], Any]) -> ChannelSettings:
    settings = ChannelSettings(value("channel-idle", None), value("channel-max", None))
    if settings.idle > settings.most:
        raise usage.UsageError(
            f"--channel-max takes at least --channel-idle, which is {settings.idle}, "
            f"not {settings.most}"
        )
    return settings


def workspace_listen(given: Sequence[str], reach: Reach, source: str) -> tuple[str, ...]:
    """
    :param given: the endpoints to listen on.
    :param reach: how the workspace is reached.
    :param source: where the endpoints come from, for an error.
    :return: the endpoints; none for `NOWHERE`.
    :raise twisted.python.usage.UsageError: the workspace could not be reached.
    """
    if NOWHERE not in given:
        return tuple(given)
    if len(given) > 1:
        raise usage.UsageError(f"{source} takes either none or endpoints")
    if reach.channel is None:
        raise usage.UsageError(
            f"--channel is required with --listen=none from {source}: otherwise nothing reaches "
            "this workspace"
        )
    return ()
