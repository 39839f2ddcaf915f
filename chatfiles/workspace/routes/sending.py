"""
Sends the body of a response while threads read or make it.
"""

from __future__ import annotations

from chatfiles.http.server.request import Request
from chatfiles.streams.file_sender import FileSender
from chatfiles.streams.step_sender import StepSender
from chatfiles.workspace.routes.context import WorkspaceContext

__all__ = ["send"]


async def send(
    context: WorkspaceContext, request: Request, sender: FileSender | StepSender
) -> None:
    """
    Send a body.  It is aborted if it makes no progress, or the client takes none of it.

    :param request: the headers of its response have been written.
    :param sender: was not started.
    :raise Exception: with which the sender's ``done`` fails.
    """
    request.transfer.begin_body(sender)
    request.transfer.watch_client(
        context.clock,
        context.idle_timeout,
        lambda taken: (sender.progress, taken),
        lambda: sender.stalled,
    )
    sender.start()
    await sender.done
