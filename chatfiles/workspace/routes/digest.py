"""
``GET /internal/fs/digest``: the SHA-256 of a file of any size (reference/digests, "Operation").
"""

from __future__ import annotations

from chatfiles.errors import PreconditionFailed
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.model import FileFacts
from chatfiles.rules import conditional_requests
from chatfiles.rules.bearer import bearer
from chatfiles.rules.digest_fields import REPR_DIGEST, repr_digest
from chatfiles.rules.entry_json import ref_of
from chatfiles.rules.query import parse_query
from chatfiles.rules.touched_paths import touched_path
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.digests.digests import Progress
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.opening import find, owner_of

__all__ = ["OPERATION", "PATH", "digest"]

#: The route, and its name in the access log.
PATH, OPERATION = "/internal/fs/digest", "digest"
#: Seconds that a request waits for a digest.
WAIT = 5.0
#: Seconds after which a client may ask again for a digest that is not complete.
RETRY_AFTER = 2


async def digest(context: WorkspaceContext, request: Request) -> JSONResponse:
    """
    Check the secret, then compute the digest of the file.

    :return: the digest; or 202 with the progress, if the digest needs more time.
    """
    until = context.clock.seconds() + WAIT
    while True:
        try:
            return await _of_this_version(context, request, until)
        except FileChanged:
            continue  # as long as `Digests.within` allows it


async def _of_this_version(
    context: WorkspaceContext, request: Request, until: float
) -> JSONResponse:
    query = parse_query(request.query)
    request.touched = touched_path(query)
    # If a platform closes its side of the connection, its own client has disconnected.
    request.ends_with_client = request.requestHeaders.hasHeader(b"via")
    found = await find(context, bearer(request.requestHeaders), query, is_download=False)
    request.via_proxy = request.ends_with_client
    file, owner, now_ns = found.file, owner_of(query), context.now_ns()
    if not conditional_requests.matches(request.requestHeaders, file.facts, now_ns):
        file.release(context.threads.run, owner)
        raise PreconditionFailed
    known = context.digests.look_up(file.facts)
    if known is not None:
        file.release(context.threads.run, owner)
        return _complete(request, found.path, file.facts, known, now_ns)
    seconds = max(0.0, until - context.clock.seconds())
    result = await context.digests.within(seconds, found.path.raw, file, owner)
    if isinstance(result, Progress):
        return _computing(result)
    return _complete(request, found.path, file.facts, result, now_ns)


def _complete(
    request: Request, path: VirtualPath, facts: FileFacts, sha256: bytes, now_ns: int
) -> JSONResponse:
    request.touched = {**request.touched, "size": facts.size, "sha256": sha256.hex()}
    body = {
        "ref": ref_of(path.raw),
        "size": facts.size,
        "etag": conditional_requests.etag(facts, now_ns).decode("ascii"),
        "sha256": sha256.hex(),
    }
    return JSONResponse(200, body, [(REPR_DIGEST, repr_digest(sha256))])


def _computing(progress: Progress) -> JSONResponse:
    body = {"status": "computing", "done": progress.done, "size": progress.size}
    return JSONResponse(202, body, [(b"Retry-After", b"%d" % RETRY_AFTER)])
