"""
Connects to a platform, directly or through a proxy that the environment names.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from chatfiles.client.blocking.connection import Connection, ResponseBegun

__all__ = ["Endpoint", "UnusableProxy"]

_PORTS = {"http": 80, "https": 443}


class UnusableProxy(Exception):
    """The environment names a proxy that cannot be used; the text describes it."""


class Endpoint:
    """
    Connects to one platform.

    :param url: the platform's base URL, as `chatfiles.rules.urls.parse_base_url` returns it.
    :param timeout: seconds without progress on a connection.
    :param ca: a file of certificate authorities to trust besides the machine's; empty for none.
    :param connect_timeout: seconds to connect; ``None`` for *timeout*.
    :param trust_env: whether the environment may name a proxy.
    :param proxies_loopback: whether also for a loopback address, which for a proxy means the
        proxy's own machine.
    :param opened: is called with each socket before it is used.
    :ivar prefix: the text before a route in a request line; a proxy for ``http`` needs the whole
        URL there (RFC 9112, 3.2.2).
    :ivar headers: the headers that each request needs to reach the platform.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        ca: str = "",
        *,
        connect_timeout: float | None = None,
        trust_env: bool = True,
        proxies_loopback: bool = False,
        opened: Callable[[socket.socket], object] = lambda _: None,
    ) -> None:
        self._url = urlsplit(url)
        self._ca = ca
        self._timeout = timeout
        self._connect_timeout = connect_timeout or timeout
        self._opened = opened
        is_exempt = not proxies_loopback and _is_loopback(self._url.hostname or "")
        self._proxy = _find_proxy(self._url) if trust_env and not is_exempt else None
        self.prefix = self._url.path
        self.headers = {"Host": self._url.netloc}
        if self._proxy is not None and self._url.scheme == "http":
            self.prefix = url
            self.headers |= _proxy_credentials(self._proxy)

    def connect(self) -> Connection:
        """
        :return: a new connection, ready for a request.
        :raise OSError: the platform or the proxy cannot be reached, or TLS fails.
        :raise ValueError: the host name is not valid.
        :raise UnusableProxy: the scheme of the proxy's URL is not supported.
        """
        _check_proxy(self._url, self._proxy)
        with ExitStack() as stack:
            sock = stack.enter_context(self._open(self._proxy or self._url))
            if self._proxy is not None and self._url.scheme == "https":
                self._tunnel(sock, self._proxy)
            if self._url.scheme == "https":
                sock = self._secured(sock, self._url)
            elif self._proxy is not None and self._proxy.scheme == "https":
                sock = self._secured(sock, self._proxy)
            stack.pop_all()
            return Connection(sock, self._timeout)

    def _open(self, url: SplitResult) -> socket.socket:
        # As in urllib, a proxy for https without a port uses port 443.
        port = url.port or max(_PORTS[url.scheme], _PORTS[self._url.scheme])
        failed: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(
            url.hostname, port, type=socket.SOCK_STREAM
        ):
            try:
                return self._connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failed = error
        raise failed or OSError("the name has no address")

    def _connected(self, sock: socket.socket, address: Any) -> socket.socket:
        with ExitStack() as stack:
            stack.enter_context(sock)
            self._opened(sock)
            sock.settimeout(self._connect_timeout)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stack.pop_all()
        return sock

    def _secured(self, sock: socket.socket, url: SplitResult) -> ssl.SSLSocket:
        with ExitStack() as stack:
            secured = stack.enter_context(
                self._tls.wrap_socket(
                    sock, server_hostname=url.hostname, do_handshake_on_connect=False
                )
            )
            self._opened(secured)
            secured.do_handshake()
            stack.pop_all()
        return secured

    def load_authorities(self) -> None:
        """:raise OSError: the file of certificate authorities cannot be read."""
        _ = self._tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made once, because reading the certificate authorities takes some time."""
        context = ssl.create_default_context()
        if self._ca:
            context.load_verify_locations(self._ca)
        return context

    def _tunnel(self, sock: socket.socket, proxy: SplitResult) -> None:
        """Ask the proxy for a connection to the platform (RFC 9110, 9.3.6)."""
        host = self._url.netloc.removesuffix(f":{self._url.port}")
        target = f"{host}:{self._url.port or _PORTS['https']}"
        headers = {"Host": target, **_proxy_credentials(proxy)}
        tunnel = Connection(sock, self._timeout)
        request = h11.Request(method="CONNECT", target=target, headers=list(headers.items()))
        with suppress(ResponseBegun):
            tunnel.send(request)
        response = tunnel.response()
        if response.status_code // 100 != 2:
            reason = bytes(response.reason).decode("latin-1")
            raise OSError(f"the proxy responded {response.status_code} {reason}")


def _find_proxy(url: SplitResult) -> SplitResult | None:
    """:return: the proxy for *url* that the environment names."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # urllib knows the variables, their precedence and no_proxy, but is slow to import.
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    proxy = getproxies().get(url.scheme)
    if not proxy or proxy_bypass(url.netloc):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _check_proxy(url: SplitResult, proxy: SplitResult | None) -> None:
    """:raise UnusableProxy: *proxy* cannot be used for *url*."""
    if proxy is not None and proxy.scheme not in _PORTS:
        raise UnusableProxy("a proxy that is neither http nor https")
    if proxy is not None and proxy.scheme == url.scheme == "https":
        # It needs TLS inside TLS, which `ssl` does not do on a socket.  Without TLS, others could
        # read the credentials in the CONNECT.
        raise UnusableProxy(
            "a proxy with https:// in its own address, which works for http:// platforms only"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None or proxy.password is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password)}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
