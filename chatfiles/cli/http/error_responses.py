"""
Turns a response of the platform that is not a success into an error.
"""

from __future__ import annotations

import re
from typing import Any

from chatfiles.cli.errors import OF_A_DIRECTORY, PATH_HINT, CliError, Exit, printable, untrusted
from chatfiles.cli.http.response import Response

__all__ = ["concerns_one_file", "exit_status", "refusal"]

#: Maximum bytes of an error's body; a platform's errors are far smaller.
ERROR_LIMIT = 64 * 1024
#: How deep an archive may be; the other limits of a workspace are not so low.
ARCHIVE_LEVELS = 64

_SECONDS = re.compile(r"[0-9]{1,6}")

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
    "path_is_not_a_regular_file": f"only regular files are served, no symlinks. {OF_A_DIRECTORY}",
    "not_a_regular_file": f"only regular files are served, no symlinks. {OF_A_DIRECTORY}",
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
    "names; without a path, `chatfiles put FILE WORKSPACE` uploads a file",
    "precondition_failed": "it has changed, or it exists already or no longer; `chatfiles stat` "
    "shows its etag now",
    "parent_not_found": "`chatfiles mkdir --parents` creates it, and so does --parents of put",
    "exists": "`chatfiles stat` shows what is there; --overwrite of mv replaces a file",
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


def exit_status(status: int, code: str = "") -> Exit:
    """
    :param status: an HTTP status that is not a success.
    :param code: the machine code in the response.
    :return: the exit status.
    """
    if code in _NOT_BY_ITSELF:
        return Exit.REFUSED
    if status in (401, 403):
        return Exit.CREDENTIALS
    if status == 404:
        return Exit.NOT_FOUND
    if status in _TRANSIENT or status >= 500:
        return Exit.UNAVAILABLE
    return Exit.REFUSED if 400 <= status < 500 else Exit.INCOMPLETE


def refusal(response: Response, on_401: str | None = None) -> CliError:
    """
    :param response: a response whose status is not a success; its body is read here.
    :param on_401: the hint for a credential that was refused.
    :return: the error to raise, with the server's text, code and request id.
    """
    if 300 <= response.status < 400:
        return _redirected(response)
    if response.status < 400:
        return untrusted(f"it has status {response.status}, which does not belong here")
    said = _said(response)
    error = _text(said, "error")
    text = error or f"the platform responded {response.status} {response.reason}".rstrip()
    if detail := _detail(said):
        text = f"{text}: {detail}"
    request_id = _text(said, "request_id") or response.header("X-Request-Id")
    code = _text(said, "code")
    said_by = code or (error and f"HTTP {response.status}")
    where = ", ".join(filter(None, (said_by, request_id and f"request {request_id}")))
    retry_after = _retry_after(said, response)
    # A response may have no body that says who sent it (RFC 9110, 9.3.2).
    is_of_platform = bool(error or response.header("Tus-Resumable"))
    return CliError(
        printable(text) + (f" ({printable(where)})" if where else ""),
        exit_status(response.status, code),
        hint=on_401
        if response.status == 401
        else _hint(response.status, code, error, retry_after, is_of_platform=is_of_platform),
        transient=response.status in _TRANSIENT and code not in _LASTING,
        retry_after=retry_after,
        code=code or "_".join(error.split()),
    )


def concerns_one_file(error: CliError) -> bool:
    """:return: whether a server refused one file, so that another file may be asked for."""
    return error.code in _OF_ONE_FILE


def _redirected(response: Response) -> CliError:
    target = response.header("Location", "elsewhere")
    return CliError(
        f"the platform redirects to {printable(target)}; this is not followed",
        Exit.INCOMPLETE,
        hint="a redirect would carry your token away; give the final address with --platform",
    )


def _said(response: Response) -> dict[str, Any]:
    """:return: the JSON object of an error; empty if there is none, or it is incomplete."""
    try:
        said = response.json(ERROR_LIMIT)
    except CliError:  # the status alone says what happened
        return {}
    return said if isinstance(said, dict) else {}


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""


def _detail(said: dict[str, Any]) -> str:
    """:return: the detail of an error, which may be numbers with names."""
    detail = said.get("detail")
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


def _retry_after(said: dict[str, Any], response: Response) -> int | None:
    seconds = said.get("retry_after_seconds")
    if isinstance(seconds, int) and not isinstance(seconds, bool) and 0 <= seconds < 10**6:
        return seconds
    header = response.header("Retry-After")
    return int(header) if _SECONDS.fullmatch(header) else None


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
