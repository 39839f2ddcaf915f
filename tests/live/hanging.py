"""
A file system of our own (FUSE, without a library) that hangs on request.  Only root can mount it;
it is mounted in a private namespace, and disappears with the process that sees it.

As a program, ``hanging.py DIRECTORY`` prints the small file of the file system at *DIRECTORY*.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys

__all__ = ["FILES", "mounting", "unavailable"]

#: The files in its only directory.
FILES = {b"small": b"small", b"secret": b"abc\n", b"large": bytes(range(256)) * 4096 * 6}

_NAMES = list(FILES)
_NEWNS, _PRIVATE = 0x00020000, 0x44000  # MS_REC | MS_PRIVATE
_IN, _OUT = struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ")
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _STATFS, _INIT, _BATCH_FORGET = (
    1,
    2,
    3,
    14,
    15,
    17,
    26,
    42,
)
_RELEASE = 18


def mounting(directory: str, pidfile: str, *, hangs: bool = False) -> str:
    """
    :param directory: where the file system is.
    :param pidfile: where the id of the process that serves it goes, to be stopped and continued.
    :param hangs: whether it hangs from the start.
    :return: Python that mounts it, for the process that executes it alone.
    """
    call = f"mount({directory!r}, {pidfile!r}, hangs={hangs!r})"
    return f"import runpy; mount = runpy.run_path({__file__!r})['mount']; {call}"


def unavailable() -> str | None:
    """:return: why it cannot be mounted here, if so."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        return "only root can mount a file system, and with /dev/fuse"
    command = [sys.executable, os.path.abspath(__file__), "/mnt"]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.stdout == b"small" else f"FUSE does not work here: {done.stderr[-200:]!r}"


def _attributes(node: int) -> bytes:
    size = 0 if node == 1 else len(FILES[_NAMES[node - 2]])
    mode = 0o040755 if node == 1 else 0o100600
    times = (10**9,) * 3
    return struct.pack("=6Q10I", node, size, 0, *times, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(operation: int, node: int, body: bytes) -> bytes | int:
    """:return: the data of the response, or an error's number."""
    if operation == _INIT:
        return struct.pack("=IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 16, 12, 1 << 17, 1, 0, 0, 0)
    if operation == _LOOKUP:
        name = body.rstrip(b"\0")
        if name not in FILES:
            return errno.ENOENT
        found = _NAMES.index(name) + 2
        return struct.pack("=QQQQII", found, 0, 0, 0, 0, 0) + _attributes(found)
    if operation == _GETATTR:
        return struct.pack("=QII", 0, 0, 0) + _attributes(node)
    if operation == _OPEN:
        return struct.pack("=QII", 0, 0, 0)
    if operation == _READ:
        offset, size = struct.unpack_from("=8xQI", body)
        return FILES[_NAMES[node - 2]][offset : offset + size]
    if operation == _STATFS:
        return struct.pack("=5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
    return b"" if operation == _RELEASE else errno.ENOSYS


def _serve(device: int) -> None:
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT):
                continue
            return  # ENODEV: it is mounted nowhere any more
        _, operation, unique, node, *_ = _IN.unpack_from(request)
        if operation in (_FORGET, _BATCH_FORGET):
            continue
        answer = _answer(operation, node, request[_IN.size :])
        code, data = (-answer, b"") if isinstance(answer, int) else (0, answer)
        try:
            os.write(device, _OUT.pack(_OUT.size + len(data), code, unique) + data)
        except OSError:
            continue  # the request was interrupted


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def mount(directory: str, pidfile: str, *, hangs: bool = False) -> None:
    """Mount it for this process.  See `mounting`."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_NEWNS))
    _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None))
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions"
    _check(libc.mount(b"f", directory.encode(), b"fuse", ctypes.c_ulong(6), options.encode()))
    child = os.fork()
    if child == 0:
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        for stream in range(3):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        _serve(device)
        os._exit(0)
    os.close(device)
    with open(pidfile, "w") as file:
        file.write(str(child))
    if hangs:
        os.kill(child, signal.SIGSTOP)


if __name__ == "__main__":
    mount(sys.argv[1], os.devnull)
    with open(os.path.join(sys.argv[1], "small"), "rb") as small:
        sys.stdout.buffer.write(small.read())
