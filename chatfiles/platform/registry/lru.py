"""
Answers that may be given again, and questions that are being asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

__all__ = ["LRUCache", "Questions"]

#: Who wait for one answer and are given it in one turn of the reactor: a thousand at once would
#: hold up everybody else for long.
AT_ONCE = 20

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """
    The answers that were used last, each belonging to a workspace.

    :param most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[K, tuple[V, UUID]] = OrderedDict()
        self._keys: dict[UUID, set[K]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: K) -> V | None:
        """:return: the answer, which is now the one used last; ``None`` if there is none."""
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[0]

    def put(self, key: K, answer: V, workspace_id: UUID) -> None:
        """Keep an answer until it is forgotten, or too many have been used after it."""
        self.drop(key)
        self._answers[key] = (answer, workspace_id)
        self._keys.setdefault(workspace_id, set()).add(key)
        if len(self._answers) > self._most:
            self.drop(next(iter(self._answers)))

    def drop(self, key: K) -> None:
        """Forget one answer."""
        found = self._answers.pop(key, None)
        if found is None:
            return
        keys = self._keys[found[1]]
        keys.remove(key)
        if not keys:
            del self._keys[found[1]]

    def forget(self, workspace_id: UUID | None) -> None:
        """Forget the answers of a workspace, or (``None``) all of them."""
        if workspace_id is None:
            self._answers.clear()
            self._keys.clear()
            return
        for key in self._keys.pop(workspace_id, ()):
            del self._answers[key]


class Questions(Generic[K, V]):
    """
    Questions on their way, so that those who ask the same at once share one.

    :param learned: called with each answer, unless the question was disowned meanwhile.
    """

    def __init__(self, learned: Callable[[K, V], None], clock: IReactorTime) -> None:
        self._learned = learned
        self._clock = clock
        self._asked: dict[K, _Question[V]] = {}

    def ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> Deferred[V]:
        """
        :param ask: asks, if nobody is asking this already.
        :return: the answer; to cancel it does not disturb others who wait for it.
        """
        question = self._asked.get(key)
        return self.ask_anew(key, ask) if question is None else question.wait()

    def ask_anew(self, key: K, ask: Callable[[], Awaitable[V]]) -> Deferred[V]:
        """As `ask`, sharing only with those who come later."""
        question: _Question[V] = _Question(lambda: self._is_over(key, question), self._clock)
        self._asked[key] = question
        waiting = question.wait()

        def answered(answer: V) -> V:
            if self._is_over(key, question):
                self._learned(key, answer)
            return answer

        def failed(failure: Failure) -> Failure:
            self._is_over(key, question)
            return failure

        question.send(_deferred(ask()).addCallbacks(answered, failed))
        return waiting

    def disown(self, key: K) -> None:
        """Neither share nor learn the answer to what has been asked under *key* so far."""
        self._asked.pop(key, None)

    def disown_all(self) -> None:
        """Neither share nor learn any answer to what has been asked so far."""
        self._asked.clear()

    def _is_over(self, key: K, question: _Question[V]) -> bool:
        """Share the question no more; say whether it was still shared."""
        if self._asked.get(key) is not question:
            return False
        del self._asked[key]
        return True


class _Question(Generic[V]):
    """
    One question and everyone who waits for its answer.

    :param deserted: called when the last of them has left.
    """

    def __init__(self, deserted: Callable[[], object], clock: IReactorTime) -> None:
        self._deserted = deserted
        self._clock = clock
        self._waiting: list[Deferred[V]] = []
        self._sent: Deferred[None] | None = None

    def send(self, answer: Deferred[V]) -> None:
        """:param answer: goes to all who wait when it comes."""
        self._sent = answer.addBoth(self._deliver)

    def wait(self) -> Deferred[V]:
        """:return: the answer."""
        waiting: Deferred[V] = Deferred(self._leave)
        self._waiting.append(waiting)
        return waiting

    def _leave(self, waiting: Deferred[V]) -> None:
        self._waiting.remove(waiting)
        if not self._waiting:
            self._deserted()
            if self._sent is not None:
                self._sent.cancel()

    def _deliver(self, result: V | Failure) -> None:
        for _ in range(AT_ONCE):
            if not self._waiting:  # each may make another leave
                return
            self._waiting.pop(0).callback(result)
        self._clock.callLater(0, self._deliver, result)


def _deferred(awaitable: Awaitable[V]) -> Deferred[V]:
    if isinstance(awaitable, Deferred):
        return awaitable

    async def wait() -> V:
        return await awaitable

    return Deferred.fromCoroutine(wait())
