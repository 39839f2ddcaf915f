"""
What the live tests of signed links share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.live.pair import Pair
from tests.live.rawhttp import Response, fetch

__all__ = ["make_link", "status_of"]


def make_link(
    pair: Pair,
    url: str,
    bearer: Mapping[str, str] | None = None,
    *,
    workspace_id: str = "",
    **body: Any,
) -> str:
    """
    :param url: of the platform, or of what is in front of it.
    :param bearer: the credential; by default that of the workspace's token.
    :param workspace_id: of another workspace than that of *pair*.
    :param body: the members of the request.
    :return: the target of a link to ``/workspace/small.bin``, or as *body* says.  Neither role may
        log its signature.
    """
    given = body if body.get("operation") == "upload" else {"path": "/workspace/small.bin"} | body
    answer = fetch(
        url,
        f"/workspaces/{workspace_id or pair.id}/links",
        dict(bearer or pair.bearer),
        method="POST",
        body=json.dumps(given).encode(),
    )
    assert answer.status == 201, answer.body
    target: str = answer.json["url"]
    pair.hide(target.rpartition("s=")[2])
    return target


def status_of(url: str, target: str, **more: Any) -> tuple[int, str]:
    """:return: the status of the response to a link, and the code of its error."""
    answer: Response = fetch(url, target, **more)
    return answer.status, answer.json["code"] if answer.status >= 400 else ""
