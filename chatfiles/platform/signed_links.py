"""
Makes signed links, and checks those that are presented (reference/links).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chatfiles.errors import Forbidden
from chatfiles.platform import error_texts
from chatfiles.platform.authentication import Authenticator
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.rules.link_keys import LinkKey, new_link_key, signing_key
from chatfiles.rules.link_request import LinkRequest, scope_of
from chatfiles.rules.signed_links import (
    LinkOperation,
    PresentedLink,
    SignedLink,
    check_signature,
    check_times,
    invalid_link,
    link_target,
    parse_link,
    revoked_link,
)

__all__ = ["Links", "MadeLink"]

#: Seconds between two reads of the registry for keys that this node does not know.
UNKNOWN_KEY_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class MadeLink:
    """
    A link.

    :param url: absolute, or beginning with ``/links/``.
    :param expires: unix seconds.
    """

    url: str
    expires: int


class Links:
    """
    Makes and checks links.

    :param registry: stores the keys.
    :param authenticator: knows which tokens are live.
    :param now: returns the current time, with its time zone.
    :param public_url: the base URL of the platform for clients; empty if it is not known.
    :param entropy: takes a number of bytes, and returns that many random bytes.
    """

    def __init__(
        self,
        registry: IWorkspaceRegistry,
        authenticator: Authenticator,
        now: Callable[[], datetime],
        public_url: str = "",
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._registry = registry
        self._authenticator = authenticator
        self._now = now
        self._public_url = public_url
        self._entropy = entropy
        self._asked_at = 0.0

    async def make(self, workspace_id: UUID, asked: LinkRequest, token_id: str) -> MadeLink:
        """
        :param token_id: the id of the token that asks, and to which the link is bound.
        :return: the link.
        :raise chatfiles.errors.NotFound: 404, there is no such workspace.
        :raise RegistryUnavailable: there is no key, and none can be stored now.
        """
        clock = await self._registry.link_clock(workspace_id)
        if clock is None:
            raise error_texts.no_workspace()
        key = await self._signing_key()
        expires = clock.now + asked.expires_in
        link = SignedLink(
            asked.operation,
            workspace_id,
            asked.path,
            asked.options,
            token_id.encode("ascii"),
            b"%d" % clock.issued,
            b"%d" % expires,
        )
        return MadeLink(self._public_url + link_target(link, key.id, key.key), expires)

    async def signed(self, operation: LinkOperation, query: bytes, client: str) -> SignedLink:
        """
        Check the form and the signature of a link.

        :param query: of the request.
        :param client: the address of the client.
        :return: the link, which may have expired or been revoked.
        :raise chatfiles.errors.BadRequest: 400, it is malformed.
        :raise chatfiles.errors.Forbidden: 403, it is not valid.
        :raise chatfiles.errors.TooManyRequests: 429, it may not be valid, and the client has
            presented too many that are not.
        :raise RegistryUnavailable: this cannot be checked now.
        """
        presented = parse_link(operation, query)
        keys = await self._registry.link_keys()
        try:
            return check_signature(presented, self._key(presented.key_id, keys))
        except Forbidden:
            pass
        look_up = self._authenticator.refused.look_up
        link = await look_up(client, lambda: self._signed_elsewhere(presented, keys))
        if link is None:
            raise invalid_link()
        return link

    async def require_time(self, link: SignedLink) -> None:
        """
        :param link: a result of `signed`.
        :raise chatfiles.errors.Forbidden: 403, it has expired, or was made in the future.
        :raise RegistryUnavailable: this cannot be checked now.
        """
        now, not_before = self._now().timestamp(), 0
        if int(link.issued) > now:  # seldom: the workspace is read only for those
            not_before = await self._not_before(link.workspace_id)
        check_times(link, now, not_before)

    async def require_live(self, link: SignedLink) -> None:
        """
        :param link: a result of `signed`.
        :raise chatfiles.errors.Forbidden: 403, it was revoked.
        :raise RegistryUnavailable: this cannot be checked now.
        """
        scope = scope_of(link.operation)
        if not await self._authenticator.is_live(link.maker, link.workspace_id, scope):
            raise revoked_link()
        if int(link.issued) < await self._not_before(link.workspace_id):
            raise revoked_link()

    async def _not_before(self, workspace_id: UUID) -> int:
        workspace = await self._registry.workspace(workspace_id)
        return workspace.links_not_before if workspace is not None else 0

    async def _signing_key(self) -> LinkKey:
        now = self._now()
        key = signing_key(await self._registry.link_keys(), now)
        if key is None:
            key = await self._registry.ensure_link_key(new_link_key(now, self._entropy))
        return key

    async def _signed_elsewhere(
        self, presented: PresentedLink, known: Sequence[LinkKey]
    ) -> SignedLink | None:
        """:return: the link, if its key is not *known*: another node may just have made it."""
        is_known = any(each.id.encode() == presented.key_id for each in known)
        if is_known or not self._may_ask(self._now()):
            return None
        keys = await self._registry.fresh_link_keys()
        try:
            return check_signature(presented, self._key(presented.key_id, keys))
        except Forbidden:
            return None

    def _key(self, key_id: bytes, keys: Sequence[LinkKey]) -> bytes | None:
        """:return: the key with this id, if it verifies."""
        now = self._now()
        for each in keys:
            if each.id.encode() == key_id and each.verifies(now):
                return each.key
        return None

    def _may_ask(self, now: datetime) -> bool:
        """
        :return: whether enough time has passed since the last time that this was true.  So clients
            that guess ids cannot make the registry busy.
        """
        seconds = now.timestamp()
        if abs(seconds - self._asked_at) < UNKNOWN_KEY_INTERVAL:
            return False
        self._asked_at = seconds
        return True
