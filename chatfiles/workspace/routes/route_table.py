"""
The workspace's table of routes.

A handler is a coroutine function of the contexts and the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from twisted.internet import defer

from chatfiles.errors import Unavailable
from chatfiles.http.server.probes import health, ready
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.router import Route, Router
from chatfiles.rules.bearer import bearer
from chatfiles.rules.writable_prefixes import not_writable
from chatfiles.workspace.inbound_secrets import require_secret
from chatfiles.workspace.routes import archive, digest, entries, resumable, write
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext, ingest
from chatfiles.workspace.routes.read import OPERATION, PATHS, read
from chatfiles.workspace.secret_file import SECRET_OWNER

__all__ = ["ROUTES", "Access", "check_secret", "workspace_tree"]

#: Seconds within which a thread must have read the secret's file for the role to be ready.
READY_TIMEOUT = 2.0


class Access(Enum):
    """Who may use a route."""

    #: No credential is read.
    ANYONE = auto()
    #: The platform, which presents the inbound secret.
    PLATFORM = auto()
    #: As `PLATFORM`, but the handler checks the secret, in the same thread in which it also opens
    #: the file.
    PLATFORM_CHECKED_LATER = auto()


@dataclass(frozen=True, slots=True)
class _Contexts:
    reading: WorkspaceContext
    ingesting: IngestContext
    writing: write.WriteContext | None
    uploading: resumable.ResumableContext | None

    def require_writing(self) -> write.WriteContext:
        if self.writing is None:
            raise not_writable()
        return self.writing

    def require_uploading(self) -> resumable.ResumableContext:
        assert self.uploading is not None  # else there are no routes
        return self.uploading


async def check_secret(context: WorkspaceContext) -> None:
    """
    :param context: has the inbound secrets.
    :raise Unavailable: there is no secret that the platform could present.
    """
    looked = context.threads.run(context.secret.present, owner=SECRET_OWNER)
    looked.addTimeout(READY_TIMEOUT, context.clock)
    try:
        present = await looked
    except defer.TimeoutError:
        text = "the file system of the inbound secret does not respond"
        raise Unavailable(text, retry_after=30) from None
    if not present:
        raise Unavailable("no inbound secret yet", code="not_enrolled", retry_after=30)


async def _check(contexts: _Contexts) -> None:
    await check_secret(contexts.reading)


async def _read(contexts: _Contexts, request: Request) -> JSONResponse | None:
    return await read(contexts.reading, request)


async def _digest(contexts: _Contexts, request: Request) -> JSONResponse:
    return await digest.digest(contexts.reading, request)


async def _archive(contexts: _Contexts, request: Request) -> None:
    await archive.archive(contexts.reading, request)


async def _archive_of_several(contexts: _Contexts, request: Request) -> None:
    await archive.archive_of_several(contexts.reading, request)


async def _roots(contexts: _Contexts, request: Request) -> JSONResponse:
    return await entries.roots(contexts.reading, request)


async def _entries(contexts: _Contexts, request: Request) -> None:
    await entries.entries(contexts.reading, request)


async def _ingest(contexts: _Contexts, request: Request) -> JSONResponse:
    return await ingest(contexts.ingesting, request)


async def _put(contexts: _Contexts, request: Request) -> JSONResponse:
    return await write.put_file(contexts.require_writing(), request)


async def _delete(contexts: _Contexts, request: Request) -> JSONResponse:
    return await write.delete_file(contexts.require_writing(), request)


async def _make_directory(contexts: _Contexts, request: Request) -> JSONResponse:
    return await write.make_directory(contexts.require_writing(), request)


async def _move(contexts: _Contexts, request: Request) -> JSONResponse:
    return await write.move(contexts.require_writing(), request)


async def _describe_uploads(contexts: _Contexts, request: Request, *_: str) -> None:
    await resumable.options(contexts.require_uploading(), request)


async def _create_upload(contexts: _Contexts, request: Request) -> None:
    await resumable.create(contexts.require_uploading(), request)


async def _upload_state(contexts: _Contexts, request: Request, upload_id: str) -> None:
    await resumable.state(contexts.require_uploading(), request, upload_id)


async def _uploaded(contexts: _Contexts, request: Request, upload_id: str) -> JSONResponse:
    return await resumable.files(contexts.require_uploading(), request, upload_id)


async def _append(contexts: _Contexts, request: Request, upload_id: str) -> None:
    await resumable.append(contexts.require_uploading(), request, upload_id)


async def _remove_upload(contexts: _Contexts, request: Request, upload_id: str) -> JSONResponse:
    return await resumable.remove(contexts.require_uploading(), request, upload_id)


_LATER = Access.PLATFORM_CHECKED_LATER

_tus = partial(Route[Access], overrides=True)
_UPLOAD = resumable.UPLOAD_PATH
_SERVICE, _TUS = Access.ANYONE, Access.PLATFORM

#: The routes of resumable uploads, which need an option.
RESUMABLE: tuple[Route[Access], ...] = (
    Route("POST", resumable.PATH, _TUS, "ingest", _create_upload),
    Route("OPTIONS", resumable.PATH, _SERVICE, "", _describe_uploads),
    _tus("PATCH", _UPLOAD, _TUS, "ingest", _append),
    _tus("HEAD", _UPLOAD, _TUS, "upload-state", _upload_state),
    _tus("DELETE", _UPLOAD, _TUS, "upload-remove", _remove_upload),
    Route("GET", _UPLOAD, _TUS, "upload-state", _uploaded),
    Route("OPTIONS", _UPLOAD, _SERVICE, "", _describe_uploads),
)

#: Method, path, access, name in the access log, handler.
ROUTES: tuple[Route[Access], ...] = (
    Route("GET", "/health", Access.ANYONE, "", health("workspace")),
    Route("GET", "/ready", Access.ANYONE, "", ready("workspace", _check)),
    *(Route("GET", path, _LATER, OPERATION, _read) for path in PATHS),
    Route("GET", digest.PATH, _LATER, digest.OPERATION, _digest),
    Route("GET", archive.PATH, Access.PLATFORM, archive.OPERATION, _archive),
    Route("POST", archive.PATH, Access.PLATFORM, archive.OPERATION, _archive_of_several),
    Route("GET", entries.ROOTS_PATH, Access.PLATFORM, entries.OPERATION, _roots),
    Route("GET", entries.PATH, _LATER, entries.OPERATION, _entries),
    Route("POST", "/internal/chat/uploads/ingest", Access.PLATFORM, "ingest", _ingest),
    Route("PUT", write.FILE, Access.PLATFORM, "write", _put),
    Route("DELETE", write.FILE, Access.PLATFORM, "delete", _delete),
    Route("POST", write.DIRECTORIES, Access.PLATFORM, "mkdir", _make_directory),
    Route("POST", write.MOVE, Access.PLATFORM, "move", _move),
    *RESUMABLE,
)


def workspace_tree(
    context: WorkspaceContext,
    ingest: IngestContext,
    writing: write.WriteContext | None = None,
    uploading: resumable.ResumableContext | None = None,
) -> Router[Access]:
    """
    :param context: passed to the handlers.
    :param ingest: passed to the handler of uploads.
    :param writing: passed to the handlers that change files; ``None`` if no path is writable.
    :param uploading: passed to the handlers of resumable uploads; ``None`` for no such routes.
    :return: the workspace's resources; `Router` describes where they can be mounted.
    """
    contexts = _Contexts(context, ingest, writing, uploading)
    routes = ROUTES
    if uploading is None:
        routes = tuple(route for route in ROUTES if route not in RESUMABLE)
    return Router(
        routes, partial(_dispatch, contexts), resumable.prepare if uploading else _nothing
    )


def _nothing(_: Request) -> None:
    pass


async def _dispatch(
    contexts: _Contexts, route: Route[Access], request: Request, parameters: Sequence[str]
) -> JSONResponse | None:
    """Check the client's access, then call the handler."""
    if route.access is Access.PLATFORM:
        context, presented = contexts.reading, bearer(request.requestHeaders)
        await context.threads.run(require_secret, context.secret, presented, owner=SECRET_OWNER)
    return await route.handler(contexts, request, *parameters)
