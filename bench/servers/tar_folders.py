"""
``python -m bench.servers.tar_folders PORT DIRECTORY``: sends ``/tar/NAME`` as ``tar -c`` packs it.

``tar`` writes to the socket itself, so this process moves no bytes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

__all__ = ["main"]

_HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nConnection: close\r\n\r\n"


def main(port: str, directory: str) -> None:
    """Serve one request after the other."""
    with socket.create_server(("127.0.0.1", int(port))) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                _serve(connection, directory)


def _serve(connection: socket.socket, directory: str) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data:
            return
        received += data
    name = os.path.basename(received.split(b" ")[1])
    connection.sendall(_HEADERS)
    command = ["tar", "-c", "-C", directory, "--", os.fsdecode(name)]
    subprocess.run(command, stdout=connection.fileno(), check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
