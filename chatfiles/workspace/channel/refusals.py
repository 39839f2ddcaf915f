"""
Pure: what a workspace does when the platform does not accept its connection
(reference/channel-workspace, "Refusals").
"""

from __future__ import annotations

from typing import Final, NamedTuple

from chatfiles.workspace.registration.client import RegistryResponse

__all__ = ["BACK_OFF", "Refusal", "refusal_of"]

#: Seconds to wait if the operator has to do something, and if the platform has to be replaced.
OPERATOR: Final = 60.0
PLATFORM: Final = 300.0
#: The wait is a random one, which grows with each failure.
BACK_OFF: Final = None


class Refusal(NamedTuple):
    """
    :param text: for the log.  In the table below, ``{}`` is what the platform has said.
    :param wait: seconds until the next attempt, or `BACK_OFF`.
    :param registers: whether to register before that.  An accepted registration then does not end
        the wait: the platform may accept each registration and refuse each connection.
    :param is_full: whether the platform has enough connections of this workspace.
    """

    text: str
    wait: float | None = BACK_OFF
    registers: bool = False
    is_full: bool = False


_BY_STATUS: Final = {
    401: Refusal("refused, {}", OPERATOR, registers=True),
    403: Refusal("refused, {}", OPERATOR, registers=True),
    404: Refusal("the platform has no channel: {}", PLATFORM),
    409: Refusal("{}", registers=True),
    426: Refusal("a proxy has removed Upgrade from the request, or has added to it: {}", OPERATOR),
    429: Refusal("{}", OPERATOR, is_full=True),
}
_UNKNOWN_WORKSPACE: Final = Refusal("{}", registers=True)


def refusal_of(response: RegistryResponse) -> Refusal:
    """
    :param response: the response to the request for an upgrade; not 101.
    :return: what to do.
    """
    status, fields = response.status, response.fields or {}
    other = Refusal("{}", BACK_OFF if status >= 500 else OPERATOR)
    refusal = _BY_STATUS.get(status, other)
    if status == 404 and fields.get("code") == "workspace_not_found":
        refusal = _UNKNOWN_WORKSPACE
    return refusal._replace(text=refusal.text.replace("{}", response.complaint()))
