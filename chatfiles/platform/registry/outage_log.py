"""
What the log says of a registry that fails: once when it begins, once when it is over.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from chatfiles.errors import ConstraintViolated, Misconfigured, RegistryUnavailable

__all__ = ["OutageLog", "Outcome"]

#: Told of every call by name, with what was wrong with it, or ``None``.
Outcome = Callable[[str, BaseException | None], None]

_log = Logger()


class OutageLog:
    """
    One line for each new trouble, however many requests meet it.

    :param name: of the registry, or of its part, in the log; without credentials.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: str | None = None

    def outcome(self, what: str, error: BaseException | None) -> None:
        """
        :param what: the name of a call.
        :param error: what it failed with; ``None`` if it did not.  Only a timeout, and what made
            the registry unavailable, are trouble; other errors are an answer.  Of these, rules of
            the tables are told each time: only an operator can change them.
        """
        cause = error.__cause__ if isinstance(error, RegistryUnavailable) else error
        if isinstance(error, RegistryUnavailable | TimeoutError):
            self._begins(what, _description(cause))
        elif self._told is not None:
            self._told = None
            _log.info("{registry} answers again", registry=self._name)
        if isinstance(error, ConstraintViolated | Misconfigured):
            _log.warn(
                "{registry} takes no such row: {what}: {rule}",
                registry=self._name,
                what=what,
                rule=error.detail,
            )

    def _begins(self, what: str, description: str) -> None:
        if description != self._told:
            self._told = description
            _log.error(
                "{registry} is unavailable: {what}: {description}",
                registry=self._name,
                what=what,
                description=description,
            )


def _description(cause: BaseException | None) -> str:
    # Neither sqlite3 nor OSError put the values of a statement into their text.
    code = getattr(cause, "sqlite_errorname", None)
    text = f"{type(cause).__name__}: {cause}" if cause is not None else "no reason given"
    return f"{text} ({code})" if code else text
