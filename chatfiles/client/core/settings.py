"""
The settings of a client, which both kinds of client check alike.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from chatfiles.client.core.names import read_token, workspace_id
from chatfiles.rules.urls import parse_base_url

__all__ = ["CA_HINT", "Settings"]

#: What to do about a certificate of an authority that this machine does not know.
CA_HINT = "give the file of its authority as ca, or set CHATFILES_CA"


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The valid settings of a client.

    :param base_url: of the platform, without a final slash.
    :param token: the credential.
    :param workspace: the id of the workspace.
    :param ca: a file of certificate authorities; empty for none.
    :param connect_timeout: seconds to connect.
    :param idle_timeout: seconds without progress.
    :param retries: how often the requests of one call are sent again.
    """

    base_url: str
    token: str = field(repr=False)
    workspace: str
    ca: str
    connect_timeout: float
    idle_timeout: float
    retries: int

    @staticmethod
    def of(
        base_url: str,
        token: str | Path,
        workspace: UUID | str,
        ca: Path | None,
        connect_timeout: float,
        idle_timeout: float,
        retries: int,
    ) -> Settings:
        """
        :return: the settings.
        :raise ValueError: one is not valid; the text does not contain the token.
        """
        if connect_timeout <= 0 or idle_timeout <= 0:
            raise ValueError("a timeout must be more than 0 seconds")
        if retries < 0:
            raise ValueError("retries must be 0 or more")
        return Settings(
            base_url=parse_base_url(base_url),
            token=read_token(token),
            workspace=workspace_id(workspace),
            ca="" if ca is None else os.fspath(ca),
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            retries=retries,
        )
