"""
Pure: how a workspace that registers is reached (reference/registration, "Register").
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from chatfiles.errors import BadRequest
from chatfiles.model import Workspace
from chatfiles.platform.routes.json_fields import optional_text
from chatfiles.rules.urls import MAX_URL_LENGTH, parse_workspace_url

__all__ = ["PUSH", "Placement", "placement"]

PUSH, POLL = "push", "poll"


class Placement(NamedTuple):
    """
    :param delivery_mode: the mode to store.
    :param url: the URL to store; ``None`` keeps the stored one, and ``""`` removes it.
    :param check: the URL to check: the one to store, or a given one that is not stored and is no
        host name. A provisioned workspace may give a name that only its own network knows.
    """

    delivery_mode: str
    url: str | None = None
    check: str | None = None


def placement(body: dict[str, Any], stored: Workspace | None) -> Placement:
    """
    :param body: the JSON body of a registration.
    :param stored: the workspace as it is stored; ``None`` for a new one.
    :return: what the registration stores.
    :raise BadRequest: the mode is unknown, or a workspace in push mode has no URL.
    """
    given = body.get("delivery_mode")
    if given not in (None, "", PUSH, POLL):
        raise BadRequest("delivery_mode must be 'push' or 'poll'", code="invalid_field")
    mode = given or (stored.delivery_mode if stored is not None else None) or PUSH
    if mode == POLL:
        # A workspace that says so, and names no URL, connects by itself.
        connects = given == POLL and not body.get("url") and stored is not None and stored.url
        return Placement(mode, url="" if connects else None)
    url = optional_text(body, "url", MAX_URL_LENGTH) or _card_url(body)
    known = stored.url if stored is not None else None
    if mode == PUSH and not url and not known:
        raise BadRequest("url is required for push-mode workspaces", code="invalid_field")
    # A provisioner knows the address at which the platform reaches the workspace; the workspace
    # itself knows only its own host.
    if url and known and _is_local(known) and not _is_local(url):
        return Placement(mode, check=None if _has_name(url) else url)
    return Placement(mode, url=url or None, check=url or None)


def _card_url(body: dict[str, Any]) -> str | None:
    """:return: the URL in the agent card, if it can be one; the card is no reason to refuse."""
    card = body.get("agent_card")
    url = card.get("url") if isinstance(card, dict) else None
    usable = isinstance(url, str) and len(url) <= MAX_URL_LENGTH and url.isprintable()
    return url if usable else None


def _has_name(url: str) -> bool:
    """:return: whether the host of a workspace URL is a name; not if there is no such host."""
    try:
        return parse_workspace_url(url).address is None
    except ValueError:
        return False


def _is_local(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname == "127.0.0.1"
