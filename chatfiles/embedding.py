"""
Roles in a process of your own, for your own site (howto/embed).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chatfiles.platform.admin_token import AdminToken
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.service import platform_service
from chatfiles.runtime.options import Options
from chatfiles.runtime.role_service import RoleService
from chatfiles.workspace.service import workspace_service

__all__ = ["embedded_platform", "embedded_workspace"]


def embedded_platform(
    reactor: Any,
    options: Iterable[str],
    *,
    admin_token: str,
    registry: IWorkspaceRegistry | None = None,
) -> RoleService:
    """
    A platform that listens on nothing: serve its ``resource`` with a
    `chatfiles.http.server.site.Site`, after ``await begin()`` and until ``stopService()``.

    :param reactor: provides every reactor interface that a server needs.
    :param options: those of ``twistd chatfiles``, such as ``--database=sqlite:/srv/registry.db``.
        As there, the environment has those that are missing.
    :param admin_token: opens every route.
    :param registry: is used in place of the database of the options; not started yet.
    :return: the platform, as a service.
    :raise ValueError: an option is wrong; the text names it.
    """
    settings = _settings("platform", options)
    return platform_service(
        reactor, settings, lambda: AdminToken(admin_token), [], _nothing, own_registry=registry
    )


def embedded_workspace(reactor: Any, options: Iterable[str]) -> RoleService:
    """
    A workspace that listens on nothing, as `embedded_platform`.

    :param reactor: provides every reactor interface that a server needs.
    :param options: those of ``twistd chatfiles``, such as ``--root=/workspace=/srv/files``.
    :return: the workspace, as a service.
    :raise ValueError: an option is wrong; the text names it.
    """
    return workspace_service(reactor, _settings("workspace", options), [], _nothing)


def _settings(role: str, options: Iterable[str]) -> Any:
    parsed = Options()
    try:
        parsed.parseOptions([f"--role={role}", *options])
    except SystemExit as error:
        raise ValueError(str(error)) from None
    return parsed.settings


def _nothing() -> None:
    """A role that cannot start ends no process: ``begin`` raises the reason."""
