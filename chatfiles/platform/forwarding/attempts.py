"""
Repeats a request whose credential a workspace refuses, if its secret has changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.web.iweb import IResponse

from chatfiles.platform import error_texts
from chatfiles.platform.forwarding.gateway import discard
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.forwarding.target import WorkspaceAddress

__all__ = ["accepted"]


async def accepted(
    resolver: Resolver,
    target: WorkspaceAddress,
    first: Awaitable[IResponse],
    repeat: Callable[[WorkspaceAddress], Awaitable[IResponse]],
) -> IResponse:
    """
    :param resolver: reads the registry again.
    :param target: the address to which the request was sent.
    :param first: the first attempt.
    :param repeat: sends the request again, to another address.
    :return: the response, which is no 401.  The request is sent again if the workspace's secret has
        changed since it was looked up.
    :raise UpstreamFailed: the workspace refuses the secret in the registry.
    """
    response = await first
    if response.code != 401:
        return response
    discard(response)
    fresh = await resolver.again(target)
    if fresh is not None:
        response = await repeat(fresh)
        if response.code != 401:
            return response
        discard(response)
    raise error_texts.credentials_refused()
