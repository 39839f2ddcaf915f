"""
The platform as the console script sees it.

The script is a plain synchronous program, so it reads with the standard library's blocking client:
a slow disk or pipe holds the socket back by itself, Ctrl-C lands where the program is, and
``chatfiles --help`` does not wait for a reactor to be imported.  `urllib.request` is used without
its redirect and error handlers: every status comes back as it is, nothing is followed.
"""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from chatfiles import __version__
from chatfiles.cli.errors import CliError, Exit
from chatfiles.cli.http.error_responses import refusal
from chatfiles.cli.http.response_body import pieces, untrusted

__all__ = ["Client"]

#: Bytes of a JSON answer that are read; more is not an answer of ours.
JSON_LIMIT = 64 * 1024 * 1024


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _opener(url: str) -> OpenerDirector:
    opener = OpenerDirector()
    opener.addheaders = []
    opener.add_handler(HTTPHandler())
    distant = not _is_loopback(url)
    if distant:  # a proxy's loopback is not ours
        opener.add_handler(ProxyHandler())
    if distant or urlsplit(url).scheme == "https":
        opener.add_handler(HTTPSHandler(context=ssl.create_default_context()))
    return opener


class Client:
    """
    Requests to one platform with one credential.

    :param platform: its base URL, as `chatfiles.rules.base_url.parse_base_url` returned it.
    :param token: a bearer token of visible ASCII characters.
    :param timeout: seconds without a byte after which it is given up.
    :param on_401: the hint when the token is refused.
    """

    def __init__(
        self, platform: str, token: str, *, timeout: float, on_401: str | None = None
    ) -> None:
        self.platform = platform
        self._token = token
        self._timeout = timeout
        self._on_401 = on_401
        self._opener = _opener(platform)

    def open(
        self,
        method: str,
        route: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HTTPResponse:
        """
        Send one request and wait for the headers of its answer, whatever its status.

        :param route: path and query below the base URL, percent-encoded.
        :param headers: besides the credential and ``Accept-Encoding: identity``.
        :return: the answer, to be closed by the caller; its body is read with `body.pieces`.
        :raise CliError: there was no answer.
        """
        request = Request(self.platform + route, data=body, method=method)  # noqa: S310 (checked)
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Accept-Encoding", "identity")
        request.add_header("User-Agent", f"chatfiles/{__version__}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            response = self._opener.open(request, timeout=self._timeout)
        except URLError as error:
            raise self._no_answer(error.reason) from error
        except (OSError, HTTPException, UnicodeError) as error:  # the last: no host name
            raise self._no_answer(error) from error
        if not isinstance(response, HTTPResponse):
            raise CliError(
                f"cannot reach the platform at {self.platform}: the environment names a proxy "
                "that is neither http nor https",
                Exit.UNAVAILABLE,
                hint="NO_PROXY lists the hosts that are reached without it",
            )
        return response

    def call(self, method: str, route: str, body: object = None) -> object:
        """
        One exchange in JSON.

        :param body: sent as JSON unless it is ``None``.
        :return: what the answer's JSON says; ``None`` for 204.
        :raise CliError: there was no answer, it was an error, or it was not JSON.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        with self.open(method, route, headers=headers, body=data) as response:
            if response.status == 204:
                return None
            if response.status not in (200, 201):
                raise self.refusal(response)
            return _json(response)

    def refusal(self, response: HTTPResponse) -> CliError:
        """:return: the error for an answer that is not a success; see `refusals.refusal`."""
        return refusal(response, self._on_401)

    def _no_answer(self, reason: object) -> CliError:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return CliError(
                f"the certificate of {self.platform} is not trusted: {reason.verify_message}",
                Exit.UNAVAILABLE,
                hint="SSL_CERT_FILE can name a file with the certificate authority to trust",
            )
        if isinstance(reason, HTTPException) and not isinstance(reason, OSError):
            return untrusted(f"{self.platform} does not speak HTTP as it should")
        hint = "is it running, and is this its address? Give it with --platform URL or "
        hint += "CHATFILES_PLATFORM"
        if isinstance(reason, ssl.SSLError):
            hint = "does it speak TLS there, or is it an http:// address?"
        if isinstance(reason, TimeoutError):
            why = f"no answer within {self._timeout:g} seconds"
        else:
            why = reason.strerror or str(reason) if isinstance(reason, OSError) else str(reason)
        return CliError(
            f"cannot reach the platform at {self.platform}: {why}",
            Exit.UNAVAILABLE,
            hint=hint,
            transient=True,
        )


def _json(response: HTTPResponse) -> object:
    data = bytearray()
    for piece in pieces(response):
        data += piece
        if len(data) > JSON_LIMIT:
            raise untrusted("it is too long")
    try:
        answer: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise untrusted("it is not JSON") from error
    return answer
