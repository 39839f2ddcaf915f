"""
The limits on transfers that run at the same time (reference/limits-and-shutdown, "Limits per
client").  The platform counts transfers nowhere else.

Every process counts its own transfers.
"""

from __future__ import annotations

from uuid import UUID
from weakref import WeakValueDictionary

from chatfiles.errors import TooManyRequests
from chatfiles.http.server.request import Request

__all__ = ["ADMIN_ID", "Allowance", "TransferLimits"]

#: How the id of the admin token begins.  It is no UUID, and has no limit of its own.
ADMIN_ID = "admin-"


class _Count:
    """
    The running transfers of a node, workspace or token.

    :param most: the most that may run.
    :param whose: names them in a response.
    :param option: the option that sets *most*.
    """

    __slots__ = ("__weakref__", "most", "option", "running", "whose")

    def __init__(self, most: int, whose: str, option: str) -> None:
        self.most = most
        self.whose = whose
        self.option = option
        self.running = 0


class Allowance:
    """
    What one token may do in one workspace.

    :param counts: the counts that a transfer adds to.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: tuple[_Count, ...]) -> None:
        self._counts = counts

    def begin(self) -> bool:
        """:return: whether one more transfer may run.  If so it counts until `end` is called."""
        for count in self._counts:
            if count.running >= count.most:
                return False
        for count in self._counts:
            count.running += 1
        return True

    def end(self) -> None:
        """A transfer has ended for which `begin` was true."""
        for count in self._counts:
            count.running -= 1

    def refusal(self) -> TooManyRequests:
        """:return: the error that says which limit is reached."""
        full = next((each for each in self._counts if each.running >= each.most), self._counts[0])
        return TooManyRequests(
            detail=f"{full.running} transfers of this {full.whose} are running, and the platform's"
            f" --{full.option} allows no more: wait until one has ended",
            retry_after=1,
        )


class TransferLimits:
    """
    Counts running transfers, and refuses those over a limit.

    :param node: the most in this process.
    :param workspace: the most of one workspace.
    :param token: the most of one token, links that it made included.
    """

    def __init__(self, node: int = 4096, workspace: int = 512, token: int = 64) -> None:
        self._node = _Count(node, "node", "max-transfers")
        self._per_workspace, self._per_token = workspace, token
        # A count exists as long as an allowance that has it.
        self._workspaces: WeakValueDictionary[UUID, _Count] = WeakValueDictionary()
        self._tokens: WeakValueDictionary[str, _Count] = WeakValueDictionary()

    @property
    def running(self) -> int:
        """Number of transfers that run in this process."""
        return self._node.running

    def allowance(self, workspace_id: UUID, token_id: str) -> Allowance:
        """
        :param token_id: of an auth token, or of what made a link: a result of
            `chatfiles.platform.authentication.Authenticator.token_id`; empty for the admin.
        :return: what this token may do in this workspace.
        """
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            workspace = _Count(self._per_workspace, "workspace", "max-transfers-per-workspace")
            self._workspaces[workspace_id] = workspace
        if not token_id or token_id.startswith(ADMIN_ID):
            return Allowance((self._node, workspace))
        token = self._tokens.get(token_id)
        if token is None:
            token = self._tokens[token_id] = _Count(
                self._per_token, "token", "max-transfers-per-token"
            )
        return Allowance((self._node, workspace, token))

    def begin(self, request: Request, workspace_id: UUID) -> None:
        """
        Count a request as a transfer until it ends.  A ``HEAD`` is none.

        :raise TooManyRequests: 429, a limit is reached.
        """
        if request.method == b"HEAD":
            return
        actor = request.actor
        allowance = self.allowance(workspace_id, actor.token_id if actor is not None else "")
        if not allowance.begin():
            raise allowance.refusal()
        request.transfer.own(allowance.end)
