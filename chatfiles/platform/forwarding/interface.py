"""
The interface through which the platform sends requests to workspaces.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.web.iweb import IResponse
from zope.interface import Interface

from chatfiles.platform.forwarding.requests import (
    DownloadRequest,
    OperationRequest,
    PreparedRequest,
    UploadRequest,
)
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.rules.trace_context import TraceContext

__all__ = ["IWorkspaceGateway"]

# zope.interface methods have no self.
# ruff: noqa: N805


class IWorkspaceGateway(Interface):
    """Sends requests to workspaces."""

    def read(target: WorkspaceAddress, read: DownloadRequest) -> Deferred[IResponse]:
        """
        Request a file from a workspace.

        :return: a valid response to the request, or a 401, once its headers are complete.  Fails
            with

            - `chatfiles.errors.UpstreamFailed`: the workspace is unreachable, or its response is
              not acceptable;
            - `chatfiles.errors.UpstreamTimeout`: no response in time.
        """

    def prepare(target: WorkspaceAddress, read: DownloadRequest) -> PreparedRequest:
        """
        :param read: a request; its method and id do not matter.
        :return: all of it that is the same for each method and id.
        """

    def send(
        prepared: PreparedRequest,
        method: bytes,
        request_id: str,
        trace: TraceContext | None = None,
    ) -> Deferred[IResponse]:
        """
        Send a prepared request.

        :param method: ``GET`` or ``HEAD``.
        :param request_id: is forwarded.
        :param trace: is forwarded.
        :return: as for `read`.
        """

    def store(target: WorkspaceAddress, store: UploadRequest) -> Awaitable[IResponse]:
        """
        Send an upload to a workspace.  It is never sent twice.

        :return: its response once the headers are complete, which may be before all of the body was
            sent.
        :raise chatfiles.errors.UpstreamFailed: the workspace is unreachable, or its response is not
            acceptable.
        :raise chatfiles.errors.UpstreamTimeout: no response in time.
        """

    def perform(target: WorkspaceAddress, operation: OperationRequest) -> Deferred[IResponse]:
        """
        Request an operation from a workspace.

        :return: a response of the operation's form, a response that reports an error, or a 401,
            once its headers are complete.  Fails as `read` does.
        """
