"""
Changes what is in a workspace, and makes links.  Each request is sent once.
"""

from __future__ import annotations

import json
import re
from typing import Any

from chatfiles.client.core.answers import as_object, refusal
from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import BadAnswer
from chatfiles.client.core.names import VirtualPath, condition, path_bytes, reference
from chatfiles.client.core.steps import Request, Send, Steps

__all__ = ["delete", "link", "mkdir", "move", "post_json"]

#: A URL on one line, or the path and query of one.
_URL = re.compile(r"(?:https?:/)?/[!-~]+")


def post_json(route: str, value: object, headers: dict[str, str] | None = None) -> Request:
    """:return: a request with a JSON body."""
    more = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    return Request("POST", route, more, json.dumps(value).encode("ascii"))


def delete(
    context: Context, path: VirtualPath, *, directory: bool, if_match: str | None
) -> Steps[None]:
    """:return: the operation ``delete``."""
    route = context.route("fs/file", path_bytes(path), directory=1 if directory else None)
    return _done(context, Request("DELETE", route, condition(if_match)), (204, 200))


def mkdir(context: Context, path: VirtualPath, *, parents: bool) -> Steps[None]:
    """:return: the operation ``mkdir``."""
    route = context.route("fs/directories", path_bytes(path), parents=1 if parents else None)
    return _done(context, Request("POST", route), (201, 200))


def move(
    context: Context,
    source: VirtualPath,
    target: VirtualPath,
    *,
    overwrite: bool,
    if_match: str | None,
) -> Steps[None]:
    """:return: the operation ``move``."""
    paths = {"from": source, "to": target}
    value: dict[str, Any] = {
        key: {"ref": reference(path_bytes(path))} for key, path in paths.items()
    }
    value["overwrite"] = overwrite
    request = post_json(context.route("fs/move"), value, condition(if_match))
    return _done(context, request, (200,))


def _done(context: Context, request: Request, expected: tuple[int, ...]) -> Steps[None]:
    with (yield Send(request)) as response:
        if response.status not in expected:
            raise (yield from refusal(response, context.now()))


def link(
    context: Context,
    path: VirtualPath | None,
    *,
    operation: str,
    expires_in: int,
    inline: bool,
    form: str | None,
) -> Steps[str]:
    """:return: the operation ``link``."""
    value: dict[str, Any] = {"operation": operation, "expires_in": expires_in}
    if path is not None:
        value["ref"] = reference(path_bytes(path))
    elif operation != "upload":
        raise ValueError("only a link for uploads has no path")
    if inline:
        value["disposition"] = "inline"
    if form is not None:
        value["format"] = form
    return _link(context, post_json(context.route("links"), value))


def _link(context: Context, request: Request) -> Steps[str]:
    _, value = yield from context.ask(request, (201, 200))
    url = as_object(value).get("url")
    if not isinstance(url, str) or not _URL.fullmatch(url) or url.startswith("//"):
        raise BadAnswer("the response has no URL")
    return context.base_url + url if url.startswith("/") else url
