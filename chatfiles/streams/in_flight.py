"""
How many bytes of a file can be on the way to its reader when the last one is sent.

On one machine, ``sendfile`` and ``splice`` pass on references to the page cache.  If the file is
rewritten in place, bytes that are on the way change.  So senders copy the last part of a file: as
many bytes as can be on the way.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["PIPE_BYTES", "in_flight_limit", "relayed_tail", "unspliced_rest"]

#: The most bytes that a relay holds in one pipe.
PIPE_BYTES = 1024 * 1024
#: The result of `in_flight_limit` if the kernel does not report the sizes of its buffers.
DEFAULT_IN_FLIGHT = 32 * 1024 * 1024


def in_flight_limit(proc: Path = Path("/proc/sys/net")) -> int:
    """
    :param proc: the directory with the kernel's network settings.
    :return: the most bytes that can be in flight between a socket of this machine and its reader:
        the largest send buffer plus the largest receive buffer.
    """

    def last(name: str) -> int:
        return int((proc / name).read_text().split()[-1])

    try:
        send = max(last("ipv4/tcp_wmem"), 2 * last("core/wmem_max"))
        receive = max(last("ipv4/tcp_rmem"), 2 * last("core/rmem_max"))
    except (OSError, ValueError):
        return DEFAULT_IN_FLIGHT
    return send + receive


def relayed_tail(hop: int) -> int:
    """
    :param hop: the most bytes in flight on one connection; `in_flight_limit`.
    :return: the most bytes on the way to a client behind a proxy of this machine that uses
        ``splice``, as the platform does: two connections and a pipe.
    """
    return 2 * hop + PIPE_BYTES


def unspliced_rest(hop: int) -> int:
    """
    :param hop: as in `relayed_tail`.
    :return: how many bytes at the end of a body the platform copies if its client is a proxy, which
        may use ``splice`` itself: those on the way from the workspace, in the platform's own
        buffers, and on the way through the proxy.
    """
    return hop + 2 * PIPE_BYTES + relayed_tail(hop)
