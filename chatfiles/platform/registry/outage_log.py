"""
Logs outages of a registry: one line when an outage begins, one when it is over.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from chatfiles.errors import ConstraintViolated, Misconfigured, RegistryUnavailable

__all__ = ["OutageLog", "Outcome"]

#: Called after every call with its name, and with its error or ``None``.
Outcome = Callable[[str, BaseException | None], None]

_log = Logger()


class OutageLog:
    """
    Writes one line for each new kind of outage, however many requests it affects.

    :param name: of the registry or of a part of it, for the log; without credentials.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._outage: str | None = None

    def outcome(self, what: str, error: BaseException | None) -> None:
        """
        Record the outcome of a call.

        A timeout and `RegistryUnavailable` mean an outage.  Any other error shows that the registry
        works.  A constraint that rejected a row is logged each time, because only an operator can
        change it.

        :param what: the name of the call.
        :param error: the error of the call; ``None`` if it succeeded.
        """
        cause = error.__cause__ if isinstance(error, RegistryUnavailable) else error
        if isinstance(error, RegistryUnavailable | TimeoutError):
            self._begin(what, _description(cause))
        elif self._outage is not None:
            self._outage = None
            _log.info("{registry} responds again", registry=self._name)
        if isinstance(error, ConstraintViolated | Misconfigured):
            _log.warn(
                "{registry} takes no such row: {what}: {rule}",
                registry=self._name,
                what=what,
                rule=error.detail,
            )

    def _begin(self, what: str, description: str) -> None:
        if description != self._outage:
            self._outage = description
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
