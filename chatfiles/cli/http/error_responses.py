"""
Turns errors of the client library into those of the command line: exit status, text and hint.
"""

from __future__ import annotations

import math
import ssl
from typing import Any

from chatfiles.cli.errors import OF_A_DIRECTORY, PATH_HINT, CliError, printable, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.client.blocking.endpoint import UnusableProxy
from chatfiles.client.core.errors import (
    BadAnswer,
    Busy,
    Changed,
    ClientError,
    DigestMismatch,
    Forbidden,
    Incomplete,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)

__all__ = ["Errors", "concerns_one_file", "exit_status"]

#: How deep an archive may be; the other limits of a workspace are not so low.
ARCHIVE_LEVELS = 64

_TRANSIENT = (408, 423, 429, 502, 503, 504)
#: Codes that come with these statuses but are permanent: an administrator must act.
_LASTING = frozenset({"workspace_url_not_allowed"})
#: Codes of other statuses that are permanent.
_NOT_BY_ITSELF = frozenset({"write_failed", "operation_unsupported", "not_writable"})
#: Codes and texts that concern one file or path; the same request for another one may succeed.
_OF_ONE_FILE = frozenset(
    {
        "file_not_found", "permission_denied", "not_a_regular_file", "path_is_not_a_regular_file",
        "not_a_directory", "file_changing", "file_is_changing", "read_failed", "invalid_path",
        "path_required", "path_not_absolute", "path_outside_roots",
    }
)  # fmt: skip

_NO_FILE = (
    f"only regular files are served, no symlinks. {OF_A_DIRECTORY}. `chatfiles rm -d` removes an "
    "empty one; to put a file into it, end PATH with a slash"
)
#: Hints for a status, or for a code, which is preferred.  An older platform sends no codes, but its
#: error texts with underscores for spaces are the same words.
_HINTS: dict[int | str, str] = {
    404: "is --platform the platform's own address?",
    405: "is --platform the platform's own address?",
    409: "choose another id, or leave --id out",
    422: "give the workspace a URL that the platform can call, and delivery mode push",
    500: "the logs of platform and workspace say more under this request id",
    502: "is the workspace running? `chatfiles workspace show` shows its URL and last heartbeat",
    503: "try again in a little while",
    504: "is the workspace running? `chatfiles workspace show` shows its URL and last heartbeat",
    "path_is_not_a_regular_file": _NO_FILE,
    "not_a_regular_file": _NO_FILE,
    "not_a_directory": "`chatfiles stat` shows what it is; symlinks are never followed",
    "operation_unsupported": "the workspace is older than this operation, or is another program's; "
    "downloads and uploads of single files work there",
    "no_route": "is the platform older than this command, or is --platform not its own address?",
    "archive_too_large": "get its parts one after the other, or its files with -r; "
    "--archive-max-entries and --archive-max-bytes of the workspace set the limits",
    "file_changing": "a program writes to it all the time; try again when that has ended",
    "invalid_url": "the platform calls public addresses, and networks in its --upstream-allow",
    "workspace_url_not_allowed": "the platform calls public addresses, and networks in its "
    "--upstream-allow; `chatfiles workspace show` shows the workspace's URL",
    "workspace_refused_credentials": "the workspace learns its secret when it registers and with "
    "every heartbeat; `chatfiles workspace show` shows the last one",
    "workspace_answered_badly": "is it a workspace that responds there, and nothing in between? "
    "`chatfiles workspace show` shows its URL",
    "permission_denied": "the workspace itself may not read it, or not write there",
    "not_writable": "clients may write below the directories that --writable of the workspace "
    "names, and `chatfiles ls -l WORKSPACE` lists; `chatfiles put FILE WORKSPACE` needs none",
    "precondition_failed": "it has changed, or it exists already or no longer; `chatfiles stat` "
    "shows its etag now",
    "parent_not_found": "`chatfiles mkdir --parents` creates it, and so does --parents of put",
    "exists": "`chatfiles stat` shows what is there; mv --overwrite replaces files, no directories",
    "directory_not_empty": "nothing is removed recursively: remove what is in it first",
    "cross_device": "nothing is copied: get it, put it there, and remove it here",
    "below_itself": "choose a destination that is not in it",
    "busy": "a directory in which something is mounted, or that a process needs, stays where it is",
    "invalid_mode": "three octal digits, such as 644; the owner keeps the right to read (4 to 7)",
    "no_space": "free some space where the workspace keeps its files",
    "upload_too_large": "--max-resumable-bytes of both roles sets the limit",
    "too_many_uploads": "unfinished uploads expire, after a day by default; "
    "--max-unfinished-uploads of the workspace sets how many there may be",
    "upload_locked": "another program sends the same upload",
    "offset_mismatch": "another program sends the same upload",
    "too_many_transfers": "other transfers must end first; --max-transfers of the platform, and "
    "those per workspace and token, set the limits",
    "too_many_refusals": "wrong tokens were sent from your address; is a program still using one?",
    "workspace_offline": "this workspace connects to the platform by itself: is it running? Its "
    "log says why it cannot connect",
    "workspace_busy": "all connections of the workspace are used by other requests",
    "audit_unavailable": "the operator has to make room for the audit log",
    "digest_mismatch": "it was changed on the way; nothing is stored, send it again",
    "write_failed": "this is not the fault of your files, and trying again does not help: the "
    "operator of the workspace finds the reason in its log, under this request id",
    "insufficient_scope": "`chatfiles token create --scope` makes a token that does",
    "workspace_not_found": "`chatfiles workspace list` shows the ids there are",
    "token_not_found": "`chatfiles token list` shows the tokens of a workspace",
    "file_not_found": "names are taken exactly as they are; upper and lower case differ. "
    "`chatfiles ls WORKSPACE` lists the directories that a workspace serves",
}


#: The hint for an outage that no platform describes: its errors have a text.
_OF_A_PROXY = "a proxy in front of the platform responds like this: is the platform itself running?"


#: The exit statuses of errors that do not depend on more than their class.
_EXITS: dict[type[ClientError], Exit] = {
    Unauthorized: Exit.CREDENTIALS,
    Forbidden: Exit.CREDENTIALS,
    NotFound: Exit.NOT_FOUND,
    Busy: Exit.UNAVAILABLE,
    Unavailable: Exit.UNAVAILABLE,
    Unreachable: Exit.UNAVAILABLE,
    Incomplete: Exit.INCOMPLETE,
    Changed: Exit.INCOMPLETE,
    DigestMismatch: Exit.INCOMPLETE,
    BadAnswer: Exit.INCOMPLETE,
}


def exit_status(error: ClientError) -> Exit:
    """:return: the exit status for an error of the client library."""
    if isinstance(error, Refused) and error.code in _NOT_BY_ITSELF:
        return Exit.REFUSED
    for kind in type(error).__mro__:
        if kind in _EXITS:
            return _EXITS[kind]
    assert isinstance(error, Refused)
    is_outage = error.status in _TRANSIENT or error.status >= 500
    return Exit.UNAVAILABLE if is_outage else Exit.REFUSED


class Errors:
    """
    Turns errors of the client library into those of the command line.

    :param platform: the base URL.
    :param timeout: seconds without a byte after which a request fails.
    :param on_401: the hint for a credential that was refused.
    """

    def __init__(self, platform: str, timeout: float, on_401: str | None) -> None:
        self._platform = platform
        self._timeout = timeout
        self._on_401 = on_401

    def of(self, error: ClientError, *, is_of_platform: bool = False) -> CliError:
        """
        :param is_of_platform: whether something other than the text of the error says that the
            platform itself has sent the response.
        :return: the error to raise.
        """
        if isinstance(error, Refused):
            return self._refused(error, is_of_platform)
        if isinstance(error, Unreachable):
            return self._unreachable(error.__cause__ or error)
        return _of_bytes(error)

    def _refused(self, error: Refused, is_of_platform: bool) -> CliError:
        text, code = error.text or "", error.code or ""
        retry_after = None if error.retry_after is None else math.ceil(error.retry_after)
        hint = self._on_401
        if error.status != 401:
            of_platform = is_of_platform or bool(text)
            hint = _hint(error.status, code, text, retry_after, is_of_platform=of_platform)
        return CliError(
            _described(error),
            exit_status(error),
            hint=hint,
            transient=error.status in _TRANSIENT and code not in _LASTING,
            retry_after=retry_after,
            code=code or "_".join(text.split()),
        )

    def _unreachable(self, error: BaseException) -> CliError:
        text = f"cannot reach the platform at {self._platform}"
        if isinstance(error, UnusableProxy):
            hint = "give the proxy as http://HOST:PORT, or list the host in NO_PROXY"
            return CliError(f"{text}: the environment names {error}", Exit.UNAVAILABLE, hint=hint)
        if isinstance(error, ssl.SSLCertVerificationError):
            return CliError(
                f"the certificate of {self._platform} is not trusted: {error.verify_message}",
                Exit.UNAVAILABLE,
                hint="--ca FILE or CHATFILES_CA names a file of authorities to trust",
            )
        hint = "is it running, and is this its address? Give it with --platform URL or "
        hint += "CHATFILES_PLATFORM"
        if isinstance(error, ssl.SSLError):
            hint = "does it speak TLS there, or is it an http:// address?"
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, TimeoutError):
            why = f"no response within {self._timeout:g} seconds"
        return CliError(f"{text}: {why}", Exit.UNAVAILABLE, hint=hint, transient=True)


def concerns_one_file(error: CliError) -> bool:
    """:return: whether a server refused one file, so that another file may be asked for."""
    return error.code in _OF_ONE_FILE


def _of_bytes(error: ClientError) -> CliError:
    """:return: the error for a response, or for the bytes that have come."""
    if isinstance(error, Incomplete) and error.transient:
        return _interrupted(error)
    if isinstance(error, DigestMismatch):
        return _mismatch(error)
    if isinstance(error, Changed):
        return CliError(str(error), Exit.INCOMPLETE, hint="run the command again")
    location = getattr(error, "location", None)
    return untrusted(_said_of_it(error)) if location is None else _redirected(location)


def _redirected(location: str) -> CliError:
    target = location or "elsewhere"
    return CliError(
        f"the platform redirects to {printable(target)}; this is not followed",
        Exit.INCOMPLETE,
        hint="a redirect would carry your token away; give the final address with --platform",
    )


def _mismatch(error: DigestMismatch) -> CliError:
    return CliError(
        f"downloaded bytes do not match sha256 {error.expected}",
        Exit.INCOMPLETE,
        hint=f"their SHA-256 is {error.actual}; do not use them",
    )


def _interrupted(error: Incomplete) -> CliError:
    return CliError(
        str(error).replace("the response", "the transfer", 1),
        Exit.INCOMPLETE,
        hint="the file may have changed meanwhile, or a connection broke; run the command again",
        transient=True,
    )


def _said_of_it(error: ClientError) -> str:
    """:return: the text of an error about a response, as the end of a sentence about it."""
    text = str(error)
    return f"it {rest}" if (rest := text.removeprefix("the response ")) != text else text


def _described(error: Refused) -> str:
    """:return: what the platform says: text, detail, and in brackets code and request."""
    # Without a text, the error's own text has status, code and request.
    shown = error.text or str(error)
    if detail := _detail(error.detail):
        shown = f"{shown}: {detail}"
    if not error.text:
        return printable(shown)
    said_by = error.code or f"HTTP {error.status}"
    where = f"{said_by}, request {error.request_id}" if error.request_id else said_by
    return f"{printable(shown)} ({printable(where)})"


def _detail(detail: object) -> str:
    """:return: the detail of an error, which may be numbers with names."""
    if isinstance(detail, dict):
        if limit := _limit(detail):
            return limit
        return ", ".join(f"{key} {value}" for key, value in detail.items())
    return detail if isinstance(detail, str) else ""


def _limit(detail: dict[str, Any]) -> str:
    """:return: the limit that an archive exceeds; empty if *detail* does not say it."""
    entries, size, limit = (detail.get(key) for key in ("entries", "bytes", "limit"))
    if not (isinstance(entries, int) and isinstance(size, int) and isinstance(limit, int)):
        return ""
    if limit == ARCHIVE_LEVELS:
        return f"more than {limit} levels of directories"
    if entries > limit:
        return f"more than {limit} files and directories"
    return f"more than {limit} bytes in files" if size > limit else ""


def _hint(
    status: int, code: str, error: str, retry_after: int | None, *, is_of_platform: bool
) -> str | None:
    words = (code, "_".join(error.split()))
    known = next((_HINTS[word] for word in words if word in _HINTS), None)
    if retry_after is not None:
        later = f"try again in {retry_after} second{'s' * (retry_after != 1)}"
        return later if known is None else f"{later}; {known}"
    if status in (502, 503, 504) and not is_of_platform:
        return _OF_A_PROXY
    if known is not None:
        return known
    return PATH_HINT if status == 400 and "path" in code + error else _HINTS.get(status)
