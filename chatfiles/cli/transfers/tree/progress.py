"""
One progress bar for all files of a tree, which several threads fetch.
"""

from __future__ import annotations

import threading

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.terminal.progress_bar import ProgressBar

__all__ = ["FileProgress", "Stop", "Stopped", "TreeProgress", "Unseen"]


class Stopped(CliError):
    """The command is ending; this thread has been stopped."""

    def __init__(self) -> None:
        super().__init__("stopped", 130)


class Stop:
    """Asks all threads to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Let `check` and `pause` raise `Stopped`."""
        self._event.set()

    def check(self) -> None:
        """:raise Stopped: the threads are to stop."""
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """
        Sleep.

        :raise Stopped: as `check`, at once.
        """
        self._event.wait(seconds)
        self.check()


class TreeProgress:
    """
    The bar.  Every method may be called in any thread.

    :param bar: shows the bytes of all files.
    :param total: these bytes.
    :param files: how many files there are.
    :param stop: is checked with each step.
    """

    def __init__(self, bar: ProgressBar, total: int, files: int, stop: Stop) -> None:
        self.stop = stop
        self._bar = bar
        self._total = total
        self._files = files
        self._done = self._files_done = 0
        # The exit statuses of the errors that have been reported since a file was last sent.
        self._reported: set[int] = set()
        self._lock = threading.Lock()
        self._remark()
        bar.begin(0, total)

    def advance(self, count: int) -> None:
        """*count* more bytes are done; fewer if it is negative."""
        with self._lock:
            self._done += count
            self._bar.advance(count)

    def finish_file(self) -> None:
        """One more file is done."""
        with self._lock:
            self._files_done += 1
            self._remark()

    def sending(self) -> None:
        """A file is being sent, so an outage has ended."""
        self._reported.clear()

    def retrying(self, label: str, error: CliError, pause: int) -> None:
        """
        Say that a thread tries again, unless another one has said so in the same outage.

        :param label: its file in messages.
        :raise Stopped: the command is ending, which is the cause of *error*.
        """
        self.stop.check()
        with self._lock:
            known = error.exit_code in self._reported
            self._reported.add(error.exit_code)
        if not known:
            about = "" if error.exit_code == Exit.UNAVAILABLE else f"{label}: "
            self.say(f"{about}{error.message}; trying again in {pause} s")

    def _remark(self) -> None:
        self._bar.remark(f"{self._files_done}/{self._files} files")

    def say(self, text: str) -> None:
        """Print *text*, and show the bar again below it."""
        with self._lock:
            self._bar.say(text)
            self._bar.begin(self._done, self._total)


class FileProgress:
    """
    The part of one file in the bar, see `chatfiles.cli.transfers.download.Progress`.

    :param label: the file's name in messages.
    :param size: its bytes in the listing.
    """

    def __init__(self, tree: TreeProgress, label: str, size: int) -> None:
        self._tree = tree
        self._label = label
        self._size = size
        self._done = 0

    def begin(self, received: int, total: int | None) -> None:
        """See `Progress`."""
        self._tree.sending()
        self._move(received)

    def advance(self, count: int) -> None:
        """See `Progress`."""
        self._tree.stop.check()
        self._move(self._done + count)

    def retrying(self, error: CliError, pause: int) -> None:
        """See `Progress`."""
        self._tree.retrying(self._label, error, pause)

    def starting_over(self) -> None:
        """See `Progress`."""
        self._tree.say(f"{self._label}: it has changed or cannot be resumed; starting over")

    def finish(self) -> None:
        """The file is done, whether it was fetched, skipped or has failed."""
        self._move(self._size)
        self._tree.finish_file()

    def _move(self, done: int) -> None:
        self._tree.advance(done - self._done)
        self._done = done


class Unseen:
    """Progress that is not shown, but can be stopped; see `digests.DigestProgress`."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def begin(self, done: int, total: int | None) -> None:
        """See `DigestProgress`."""
        self._stop.check()

    def advance(self, count: int) -> None:
        """See `DigestProgress`."""
        self._stop.check()
