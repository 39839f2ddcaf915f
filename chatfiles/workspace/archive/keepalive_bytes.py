"""
Bytes for the time in which an archive has none.

While files are left out, no format has anything to send, and a platform would take the workspace
for one that hangs.  So the last bytes are kept back, and sent one by one meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

__all__ = ["trickle"]

#: The most bytes that are kept back.
KEPT_BYTES: Final = 512
#: Seconds without bytes after which one of them is sent.
SILENCE: Final = 1.0


def trickle(
    parts: Iterable[bytes], seconds: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """
    :param parts: of the archive; some may be empty.
    :param seconds: returns seconds that only increase.
    :return: as many parts, of the same bytes, or one more.
    """
    kept, sent_at = b"", seconds()
    for part in parts:
        now = seconds()
        if len(part) > KEPT_BYTES:
            rest, kept = kept, part[-KEPT_BYTES:]
            yield b"".join((rest, memoryview(part)[:-KEPT_BYTES]))
            sent_at = now
            continue
        text = kept + part
        count = max(0, len(text) - KEPT_BYTES)
        if not count and now - sent_at >= SILENCE:
            count = 1
        if count:
            sent_at = now
        kept = text[count:]
        yield text[:count]
    if kept:
        yield kept
