"""
Operations as generators of steps, without I/O.

An operation is a generator.  It yields a step, such as a request to send, and receives the step's
result, or the step's error at the same place.  A driver takes the steps: one of them blocks, one
uses Twisted.  So each decision is written once, and can be tested without a network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

__all__ = [
    "Body",
    "Emit",
    "Local",
    "Pull",
    "Receive",
    "Request",
    "Response",
    "Send",
    "Sleep",
    "Steps",
    "local",
]

T = TypeVar("T")
#: An operation whose result is a T.
Steps = Generator[Any, Any, T]


class Response(Protocol):
    """
    A response whose headers have arrived.  As a context manager, it is closed at the end.

    :ivar status: the HTTP status, 200 or greater.
    :ivar reason: the phrase after the status.
    :ivar length: the declared length of its body in bytes; ``None`` if none is declared.
    :ivar framed: whether the end of its body can be distinguished from an interruption, as far as
        the driver knows before the end.
    """

    status: int
    reason: str
    length: int | None
    framed: bool

    def values(self, name: str) -> Sequence[str]:
        """:return: the values of the header *name*, one for each of its lines."""

    def close(self) -> None:
        """End the response; its connection ends too, unless the body was read to its end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...


def _no_pieces() -> Steps[None]:
    yield from ()


@dataclass(frozen=True, slots=True)
class Body:
    """
    The body of a request, which is not in memory.

    :param length: its bytes; ``None`` if they are not known, then it is sent in chunks.
    :param pieces: returns the operation that emits the pieces of the body, at least one byte each;
        by default none, for a driver that is given another sender.
    """

    length: int | None
    pieces: Callable[[], Steps[None]] = _no_pieces


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request.

    :param method: such as ``GET``.
    :param route: path and query below the base URL, percent-encoded.
    :param headers: besides the credential and those that HTTP needs.
    :param body: its content, if it has one.
    """

    method: str
    route: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent again although it may have been served."""
        return self.method in ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Send:
    """
    Send a request.  The result is its `Response`.

    Errors: `Unreachable`, and `BadAnswer` if what came is no response.
    """

    request: Request


@dataclass(frozen=True, slots=True)
class Receive:
    """
    Receive bytes of a body.  The result is at least one byte, or no byte after the end.

    Errors: `Incomplete` if the body was interrupted, and `BadAnswer` if it is malformed.
    """

    response: Response


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for a number of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Local:
    """Call a function that may wait for the disk.  Its result is that of the step."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pull:
    """Take the next bytes of an iterator of the program.  The result is ``None`` after the last."""

    iterator: Iterator[bytes] | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Emit:
    """Give a value to the program, who iterates."""

    value: Any


def local(function: Callable[[], T]) -> Steps[T]:
    """:return: an operation that calls *function*, which may wait for the disk."""
    result: T = yield Local(function)
    return result
