"""
``/workspaces/{workspace_id}/links``: who may make a link, and what it is.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from chatfiles.errors import RegistryUnavailable
from chatfiles.model import Scope, Token, token_hash
from chatfiles.platform.routes.context import UploadLimits
from chatfiles.platform.signed_links import Links
from chatfiles.rules.signed_links import LinkOperation, SignedLink
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN, begun
from tests.platform.memory_platform import ADMIN, START, MemoryPlatformCase
from tests.support.memory_client import Received, get, post

NOW = int(START.timestamp())


class LinksCase(MemoryPlatformCase):
    """A platform with two workspaces, whose links are made and opened without a network."""

    def setUp(self) -> None:
        super().setUp()
        self.context = replace(self.context, limits=UploadLimits(1000, 1000))
        self.add(FIRST)
        self.add(SECOND)

    def token(self, name: str, *scopes: Scope, workspace_id: UUID = FIRST) -> Token:
        adding = self.registry.create_token(
            workspace_id,
            digest=token_hash(name),
            prefix="",
            scopes=frozenset(scopes),
            name=None,
        )
        token: Token | None = self.successResultOf(begun(adding))
        assert token is not None
        return token

    def post(self, body: object, token: str = str(FIRST), workspace: object = FIRST) -> Received:
        """:return: the response to a request for a link."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/workspaces/{workspace}/links".encode()
        bearer = [f"Authorization: Bearer {token}".encode()] if token else []
        return self.ask(post(text, *bearer, path=path))

    def make(self, token: str = str(FIRST), **body: Any) -> str:
        """:return: the URL of a link."""
        answer = self.post({"path": "/workspace/a"} | body, token)
        self.assertEqual(answer.status, 201, answer.body)
        url: str = answer.json["url"]
        return url

    def revoke(self, token: str = ADMIN, workspace_id: UUID = FIRST) -> Received:
        path = f"/workspaces/{workspace_id}/links".encode()
        return self.ask(get(path, f"Authorization: Bearer {token}".encode(), method=b"DELETE"))

    def values(self, url: str) -> dict[str, str]:
        query = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
        self.assertEqual({len(each) for each in query.values()}, {1})
        return {name: value for name, (value,) in query.items()}

    def open(self, url: str) -> SignedLink:
        """:return: the link, which must be valid."""
        opened: SignedLink = self.successResultOf(begun(self.opening(url)))
        return opened

    def opening(self, url: str) -> Any:
        parts = urlsplit(url)
        operation = LinkOperation(parts.path.rpartition("/")[2])
        return self._opened(operation, parts.query.encode())

    async def _opened(self, operation: LinkOperation, query: bytes) -> SignedLink:
        link = await self.context.links.signed(operation, query, "192.0.2.1")
        await self.context.links.require_time(link)
        await self.context.links.require_live(link)
        return link

    def code_of(self, url: str) -> str:
        """:return: the code of the error for a link; empty if it is valid."""
        opened = begun(self.opening(url))
        if opened.called and not isinstance(opened.result, SignedLink):
            error: Any = self.failureResultOf(opened).value
            code: str = error.code
            return code
        self.successResultOf(opened)
        return ""


class MakingTests(LinksCase):
    """``POST``."""

    def test_file(self) -> None:
        """The response has the URL, its expiry, the operation and the ref."""
        answer = self.post({"path": "/workspace/é a", "expires_in": 60})
        self.assertEqual(answer.status, 201)
        shown = answer.json
        url = shown.pop("url")
        self.assertEqual(
            shown,
            {
                "expires_at": "2026-03-01T12:01:00.000000000Z",
                "operation": "file",
                "ref": "/workspace/%C3%A9%20a",
            },
        )
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertTrue(url.startswith("/links/file?w="), url)
        values = self.values(url)
        self.assertEqual("".join(values), "wpotieks")
        self.assertRegex(values.pop("s"), r"\A[A-Za-z0-9_-]{43}\Z")
        (token,) = self.successResultOf(begun(self.registry.tokens(FIRST)))
        (key,) = self.successResultOf(begun(self.registry.link_keys()))
        expected = {"w": str(FIRST), "p": "/workspace/é a", "o": "", "t": str(token.id)}
        times = {"i": f"{NOW}", "e": f"{NOW + 60}"}
        self.assertEqual(values, expected | times | {"k": key.id})

    def test_upload(self) -> None:
        """An upload has no ref, and its link an empty path."""
        answer = self.post({"operation": "upload", "max_files": 3})
        self.assertEqual(set(answer.json), {"url", "expires_at", "operation"})
        values = self.values(answer.json["url"])
        self.assertEqual((values["p"], values["o"]), ("", "mf=3"))
        self.assertIn("/links/upload?", answer.json["url"])

    def test_public_url(self) -> None:
        """With ``--public-url`` links are absolute; a ``Host`` is never believed."""
        plain = self.make()
        self.assertTrue(plain.startswith("/links/"))
        links = Links(
            self.context.registry,
            self.context.authenticator,
            lambda: self.moment,
            "https://files.example.com/x",
        )
        self.context = replace(self.context, links=links)
        self.assertEqual(self.make(), "https://files.example.com/x" + plain)

    def test_admin(self) -> None:
        """A link of the administrator names the beginning of the hash of the admin token."""
        expected = "admin-" + sha256(ADMIN.encode()).hexdigest()[:8]
        self.assertEqual(self.values(self.make(ADMIN))["t"], expected)

    def test_scopes(self) -> None:
        """A link needs the scope of its operation."""
        self.token("reader", Scope.READ)
        self.token("writer", Scope.WRITE)
        self.token("agent", Scope.AGENT)
        file, archive = {"path": "/home/a"}, {"path": "/home/a", "operation": "archive"}
        upload = {"operation": "upload"}
        for token, body, status in (
            ("reader", file, 201),
            ("reader", archive, 201),
            ("reader", upload, 403),
            ("writer", file, 403),
            ("writer", archive, 403),
            ("writer", upload, 201),
            ("agent", file, 403),
            ("agent", upload, 403),
            ("agent", b"{", 403),
            (str(SECOND), b"{", 401),
            ("", b"{", 401),
        ):
            answer = self.post(body, token)
            self.assertEqual(answer.status, status, (token, body))
            if status == 403:
                self.assertEqual(answer.json["code"], "insufficient_scope")

    def test_order(self) -> None:
        """The operation is read first, because it decides which scope is needed."""
        self.token("reader", Scope.READ)
        for body, code in (
            (b"", "invalid_json"),
            (b"[]", "invalid_json"),
            ({"operation": "x", "path": "x"}, "invalid_operation"),
            ({"operation": "upload", "path": "x"}, "insufficient_scope"),
            ({"path": "x", "expires_in": 0}, "path_not_absolute"),
        ):
            self.assertEqual(self.post(body, "reader").json["code"], code, body)
        for workspace, code in (("x", "invalid_workspace_id"), (UNKNOWN, "workspace_not_found")):
            answer = self.post({"path": "/home/a"}, ADMIN, workspace)
            self.assertEqual(answer.json["code"], code)

    def test_limits(self) -> None:
        """What a link allows is at most what the platform allows."""
        body = {"operation": "upload", "max_bytes": 1001}
        self.assertEqual(self.post(body).json["code"], "invalid_field")
        self.assertEqual(self.post(body | {"max_bytes": 1000}).status, 201)

    def test_outage(self) -> None:
        """Without the registry no link is made."""
        self.make()
        self.registry.failing = True
        self.assertEqual(self.post({"path": "/home/a"}).status, 503)


class ValidityTests(LinksCase):
    """Which links are valid, and for how long."""

    def test_valid(self) -> None:
        """A link that was made is valid, whoever made it, for each operation."""
        for token in (str(FIRST), ADMIN):
            for body in ({}, {"operation": "archive"}):
                self.assertEqual(self.open(self.make(token, **body)).path, b"/workspace/a")
            self.assertEqual(self.code_of(self.make(token, operation="upload", path=None)), "")

    def test_expiry(self) -> None:
        """There is no grace."""
        url = self.make(expires_in=60)
        self.moment += timedelta(seconds=59.999)
        self.assertEqual(self.code_of(url), "")
        self.moment += timedelta(seconds=0.001)
        self.assertEqual(self.code_of(url), "link_expired")

    def test_revoked_token(self) -> None:
        """A link ends with its token, and not with another one."""
        token = self.token("reader", Scope.READ)
        mine, other = self.make("reader"), self.make()
        self.assertEqual(self.code_of(mine), "")
        self.successResultOf(begun(self.registry.revoke_token(FIRST, token.id)))
        self.assertEqual(self.code_of(mine), "link_revoked")
        self.assertEqual(self.code_of(other), "")

    def test_removed_workspace(self) -> None:
        """A link ends with its workspace."""
        url = self.make()
        self.successResultOf(begun(self.registry.remove_workspace(FIRST)))
        self.assertEqual(self.code_of(url), "link_revoked")

    def test_lost_scope(self) -> None:
        """A link ends when its token loses the scope."""
        token = self.token("both", Scope.READ, Scope.WRITE)
        read, write = self.make("both"), self.make("both", operation="upload", path=None)
        entry = self.registry._entries[token.id]
        entry.token = replace(token, scopes=frozenset({Scope.WRITE}))
        self.assertEqual(self.code_of(read), "link_revoked")
        self.assertEqual(self.code_of(write), "")

    def test_other_admin_token(self) -> None:
        """The links of an administrator end with the admin token."""
        url = self.make(ADMIN)
        self.admin.digest = token_hash("another")
        self.assertEqual(self.code_of(url), "link_revoked")

    def test_revoked_links(self) -> None:
        """
        All links of a workspace end at once, those of this second included; one that is made right
        afterwards is valid.
        """
        mine, admins = self.make(), self.make(ADMIN)
        other = self.ask_other()
        for _ in range(3):
            self.assertEqual(self.revoke().status, 204)
            self.assertEqual(self.code_of(mine), "link_revoked")
            self.assertEqual(self.code_of(admins), "link_revoked")
            mine = self.make()
            self.assertEqual(self.code_of(mine), "")
        self.assertEqual(self.values(mine)["i"], f"{NOW + 3}")
        self.assertEqual(self.values(mine)["e"], f"{NOW + 3600}")
        self.assertEqual(self.code_of(other), "")

    def test_many_revocations(self) -> None:
        """After a thousand revocations within a second, a new link is valid at once."""
        for _ in range(1000):
            self.assertEqual(self.revoke().status, 204)
        url = self.make()
        self.assertEqual(self.values(url)["i"], f"{NOW + 1000}")
        self.assertEqual(self.code_of(url), "")
        self.revoke()
        self.assertEqual(self.code_of(url), "link_revoked")

    def ask_other(self) -> str:
        answer = self.post({"path": "/workspace/a"}, str(SECOND), SECOND)
        url: str = answer.json["url"]
        return url

    def test_who_revokes(self) -> None:
        """Only an administrator ends all links, and only of a workspace that exists."""
        self.assertEqual(self.revoke(str(FIRST)).json["code"], "admin_required")
        self.assertEqual(self.revoke(workspace_id=UNKNOWN).json["code"], "workspace_not_found")

    def test_rotation(self) -> None:
        """A key signs for 30 days; the longest link that it has signed is valid to its end."""
        url = self.make()
        self.moment += timedelta(days=30, seconds=-1)
        last = self.make(expires_in=604800)
        self.assertEqual(self.values(last)["k"], self.values(url)["k"])
        self.moment += timedelta(seconds=1)
        new = self.make()
        self.assertNotEqual(self.values(new)["k"], self.values(url)["k"])
        self.moment += timedelta(days=7, seconds=-2)
        self.assertEqual(self.code_of(last), "")
        self.moment += timedelta(seconds=1)
        self.assertEqual(self.code_of(last), "link_expired")
        self.moment += timedelta(seconds=1)
        self.assertEqual(self.code_of(last), "invalid_link")

    def test_revoked_key(self) -> None:
        """A link ends with its key, and the next one has another key."""
        url = self.make()
        key_id = self.values(url)["k"]
        self.successResultOf(begun(self.registry.revoke_link_key(key_id)))
        self.assertEqual(self.code_of(url), "invalid_link")
        new = self.make()
        self.assertNotEqual(self.values(new)["k"], key_id)
        self.assertEqual(self.code_of(new), "")

    def test_changed(self) -> None:
        """A link in which one value was changed is not valid."""
        url = self.make(disposition="inline")
        values = self.values(url)
        for name, value in (
            ("w", str(SECOND)),
            ("p", "/workspace/b"),
            ("o", ""),
            ("t", str(UNKNOWN)),
            ("i", f"{NOW - 1}"),
            ("i", f"0{NOW}"),
            ("e", f"{NOW + 3601}"),
            ("e", f"0{NOW + 3600}"),
            ("k", "00000000"),
            ("k", values["k"].upper()),
            ("k", ""),
        ):
            if values[name] == value:
                continue
            old, new = f"{name}={values[name]}", f"{name}={value}"
            changed = url.replace("%3D", "=").replace(old, new)
            self.assertNotEqual(changed, url.replace("%3D", "="))
            self.assertEqual(self.code_of(changed), "invalid_link", name)


class RegistryTests(LinksCase):
    """What is read of the registry."""

    def test_warm(self) -> None:
        """A node that has opened a link opens it again without the registry."""
        for url in (self.make(), self.make(ADMIN), self.make(operation="upload", path=None)):
            self.open(url)
            self.registry.asked.clear()
            self.open(url)
            self.assertEqual(self.registry.asked, [])

    def test_outage(self) -> None:
        """Without the registry a link is neither valid nor invalid."""
        url = self.make()
        self.open(url)
        self.registry.failing = True
        self.failureResultOf(begun(self.opening(url)), RegistryUnavailable)
        self.registry.failing = False
        self.open(url)

    def test_key_of_another_node(self) -> None:
        """A key that another node has just made is found before its notification has arrived."""
        self.assertEqual(self.successResultOf(begun(self.context.registry.link_keys())), ())
        self.patch(self.registry, "_notify", lambda _: None)
        links = Links(self.registry, self.context.authenticator, lambda: self.moment)
        mine, self.context = self.context, replace(self.context, links=links)
        url = self.make()
        self.context = mine
        self.assertEqual(self.code_of(url), "")

    def test_guessed_keys(self) -> None:
        """Clients that guess the ids of keys cause one read in a second."""
        url = self.make()
        wrong = url.replace(f"k={self.values(url)['k']}", "k=00000000")
        self.open(url)
        self.moment += timedelta(seconds=10)
        self.registry.asked.clear()
        for _ in range(3):
            self.assertEqual(self.code_of(wrong), "invalid_link")
        self.assertEqual(self.registry.asked, ["fresh_link_keys"])
        self.moment += timedelta(seconds=1)
        self.assertEqual(self.code_of(wrong), "invalid_link")
        self.assertEqual(self.registry.asked, ["fresh_link_keys"] * 2)
