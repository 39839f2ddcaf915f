"""
Uploads on connections that were kept.

Such a connection may be dead, and only what is sent shows it; but an upload is never sent twice.
So its head goes alone, and expects ``100 Continue`` (RFC 9110, 10.1.1).  If that does not come,
nothing of the body was sent and nothing can have been stored: the upload may begin anew elsewhere.
What a new connection costs, most of a small upload, is saved; the round trip is the same.
"""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime, ITransport
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from chatfiles.platform.connection import IWatchfulBody, OneRequest, WorkspaceConnection

__all__ = ["CONTINUE_TIMEOUT", "SILENCE", "AskedBody", "Habits", "ask_first"]

#: Seconds that a workspace may take to ask for a body; then it is sent on a new connection.
CONTINUE_TIMEOUT = 1.0
#: Seconds for which one that did not ask in that time is not expected to ask again.
SILENCE = 600.0

T = TypeVar("T")


class Habits:
    """
    What is known of whoever answers at one address.

    :ivar silent_until: not before that time is it expected to ask for a body.
    """

    def __init__(self) -> None:
        self.silent_until = 0.0


@implementer(IWatchfulBody)
class AskedBody:
    """
    :param body: is left alone before `ask`.
    :ivar begun: whether any of it may have been sent.
    """

    def __init__(self, body: IBodyProducer) -> None:
        self._body = body
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] = Deferred()
        self.length = body.length
        self.begun = False

    def ask(self) -> None:
        """The workspace wants it."""
        if self._consumer is not None and not self.begun:
            self.begun = True
            self._body.startProducing(self._consumer).chainDeferred(self._done)

    # -- for the connection (IWatchfulBody)

    def sending_to(self, transport: ITransport) -> None:
        """Where it would go."""
        if IWatchfulBody.providedBy(self._body):
            self._body.sending_to(transport)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """The head is on its way."""
        self._consumer = consumer
        return self._done

    def pauseProducing(self) -> None:
        """The workspace takes no more for now."""
        if self.begun:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        """It takes more."""
        if self.begun:
            self._body.resumeProducing()

    def stopProducing(self) -> None:
        """It takes no more at all; what has not begun may still begin elsewhere."""
        self._consumer = None
        if self.begun:
            self._body.stopProducing()


def ask_first(
    connection: WorkspaceConnection,
    request: OneRequest,
    body: AskedBody,
    habits: Habits,
    clock: IReactorTime,
) -> Deferred[IResponse]:
    """
    Send the head of *request*, and *body* when it is asked for.

    :return: the answer.  If it fails while *body* has not begun, the request was not made.
    """
    answer = connection.request(request.asking(body, body.ask))

    def silent() -> None:
        if not body.begun:
            habits.silent_until = clock.seconds() + SILENCE
            connection.cut()

    timer = clock.callLater(CONTINUE_TIMEOUT, silent)
    return answer.addBoth(_stop, timer)


def _stop(result: T, timer: IDelayedCall) -> T:
    if timer.active():
        timer.cancel()
    return result
