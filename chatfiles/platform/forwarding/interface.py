"""
The interface of the way from the platform to the workspaces.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.web.iweb import IResponse
from zope.interface import Interface

from chatfiles.platform.forwarding.requests import DownloadRequest, UploadRequest
from chatfiles.platform.forwarding.target import WorkspaceAddress

__all__ = ["IWorkspaceGateway"]

# zope.interface methods have no self.
# ruff: noqa: N805


class IWorkspaceGateway(Interface):
    """The way from the platform to the workspaces."""

    def read(target: WorkspaceAddress, read: DownloadRequest) -> Awaitable[IResponse]:
        """
        Ask a workspace for a file.

        :return: the head of its answer, an answer to what was asked; a 401 is left to the caller.
        :raise chatfiles.errors.UpstreamFailed: unreachable, or answered badly.
        :raise chatfiles.errors.UpstreamTimeout: no answer in time.
        """

    def store(target: WorkspaceAddress, store: UploadRequest) -> Awaitable[IResponse]:
        """
        Send a workspace an upload; never twice.

        :return: the head of its answer, which may come before all of the body was sent.
        :raise chatfiles.errors.UpstreamFailed: unreachable, or answered badly.
        :raise chatfiles.errors.UpstreamTimeout: no answer in time.
        """
