"""
nginx that forwards to nginx, and nginx alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count

from bench.processes import Server, free_port, listens, start
from bench.sender import Upload
from bench.systems.base import Place, Start, System, Unavailable, Uploads
from bench.systems.chatfiles import CHECKOUT
from bench.target import Target

__all__ = ["nginx", "sendfile"]

_BASE = """
user root; daemon off; worker_processes {workers}; pid {prefix}/pid; error_log {prefix}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000; client_max_body_size 0;
  client_body_temp_path {prefix}/b; proxy_temp_path {prefix}/p; fastcgi_temp_path {prefix}/f;
  uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;
  {http}
}}"""
_BACK = """
server {{ listen 127.0.0.1:{port} backlog=511; root {files};
          location /dav/ {{ dav_methods PUT; root {store}; }}
          location /tar/ {{ proxy_pass http://127.0.0.1:{tar}; proxy_max_temp_file_size 0; }} }}"""
_FRONT = """
upstream back {{ server 127.0.0.1:{back}; keepalive 64; keepalive_requests 1000000; }}
server {{
  listen 127.0.0.1:{port}; listen 127.0.0.1:{tls} ssl;
  ssl_certificate {certificate}; ssl_certificate_key {key};
  location / {{
    proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_request_buffering off; {spooling}
  }}
}}"""


def nginx(name: str = "nginx", workers: int = 1, spool: bool = False) -> Start:
    """
    :param name: what results call it.
    :param workers: processes of each of the two.
    :param spool: whether the front writes to the disk what a slow client has not received yet.
        nginx does by default, which costs it speed and makes other requests wait.
    :return: what starts an nginx that forwards to another one.
    """
    return partial(_start_two, name, workers, spool)


def sendfile() -> Start:
    """:return: what starts an nginx that serves the files itself."""
    return _start_one


def _start_two(name: str, workers: int, spool: bool, place: Place, stack: ExitStack) -> System:
    prefix = place.directory("nginx-back")
    tar_port = free_port()
    tar = _run_tar(tar_port, place, prefix, stack)
    back, back_port = _back(place, prefix, workers, stack, tar_port)
    port, tls = free_port(), free_port()
    http = _FRONT.format(
        back=back_port,
        port=port,
        tls=tls,
        spooling="" if spool else "proxy_max_temp_file_size 0;",
        certificate=place.certificate.certificate,
        key=place.certificate.key,
    )
    front = _run(http, place.directory("nginx-front"), workers, port, stack)
    ports = {"http": port, "https": tls}

    def file(scheme: str, path: str) -> Target:
        return Target(ports[scheme], f"/{path}", scheme=scheme)

    def archive(folder: str, archive_format: str) -> Target | None:
        return Target(port, f"/tar/{folder}") if archive_format == "tar" else None

    servers = {"front": front, "back": back, "tar": tar}
    uploads = Uploads(port, partial(_put, count()), os.path.join(prefix, "store", "dav"))
    return System(name, servers, partial(file, "http"), partial(file, "https"), uploads, archive)


def _put(numbers: Iterator[int], size: int) -> Upload:
    line = f"PUT /dav/{next(numbers)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
    return Upload(line.encode("ascii"))


def _start_one(place: Place, stack: ExitStack) -> System:
    server, port = _back(place, place.directory("nginx-alone"), 1, stack)
    return System("sendfile", {"nginx": server}, lambda path: Target(port, f"/{path}"))


def _run_tar(port: int, place: Place, directory: str, stack: ExitStack) -> Server:
    command = [sys.executable, "-m", "bench.servers.tar_folders", str(port), place.files]
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    return start(
        command, os.path.join(directory, "tar.log"), stack, partial(listens, port), environment
    )


def _back(
    place: Place, prefix: str, workers: int, stack: ExitStack, tar_port: int = 9
) -> tuple[Server, int]:
    """:param tar_port: of the server of `bench.servers.tar_folders`, if there is one."""
    port = free_port()
    store = os.path.join(prefix, "store")
    os.makedirs(os.path.join(store, "dav"))
    http = _BACK.format(port=port, files=place.files, store=store, tar=tar_port)
    return _run(http, prefix, workers, port, stack), port


def _run(http: str, prefix: str, workers: int, port: int, stack: ExitStack) -> Server:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise Unavailable("nginx is not installed")
    config = os.path.join(prefix, "nginx.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(_BASE.format(workers=workers, prefix=prefix, http=http))
    command = [binary, "-p", prefix, "-c", config, "-e", os.path.join(prefix, "error.log")]
    return start(command, os.path.join(prefix, "log"), stack, partial(listens, port))
