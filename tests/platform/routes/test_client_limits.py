"""
The limits per client at each route: which requests count, and which are refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionLost

from chatfiles.model import ALL_SCOPES, token_hash
from chatfiles.platform.authentication import Access, token_columns
from chatfiles.platform.routes.context import UploadLimits
from chatfiles.platform.routes.fast_download import FastDownload
from chatfiles.platform.routes.route_table import DOWNLOAD, ROUTES, platform_tree
from chatfiles.platform.transfer_limits import TransferLimits
from tests.contract.registry_case import FIRST, SECOND, begun
from tests.platform.memory_platform import ADMIN
from tests.platform.routes.operation_case import AUTH, JSON, OperationCase, response
from tests.platform.routes.test_opened_links import FORM, form
from tests.support.memory_client import Caller, get, post

ADMIN_AUTH = b"Authorization: Bearer " + ADMIN.encode()
WRONG = b"Authorization: Bearer wrong"
DOWNLOAD_TARGET = f"/workspaces/{FIRST}/chat/download?path=/home/a".encode()
UPLOAD_TARGET = f"/workspaces/{FIRST}/chat/uploads".encode()
ARCHIVE = json.dumps({"paths": [{"path": "/home/a"}]}).encode()
ZIP = b"Content-Type: application/zip"


class TransfersCase(OperationCase):
    """A platform with one transfer for each token, and two workspaces."""

    node, workspace, token = 9, 9, 1

    def setUp(self) -> None:
        super().setUp()
        self.transfers = TransferLimits(self.node, self.workspace, self.token)
        self.context = replace(
            self.context, transfers=self.transfers, limits=UploadLimits(10_000, 10_000)
        )
        self.add(SECOND, "secret", url="http://8.8.8.8:8000")

    def other_token(self) -> bytes:
        """:return: the header with another token of the first workspace."""
        columns = token_columns("other", ALL_SCOPES)
        adding = self.registry.create_token(FIRST, **columns, name=None)
        self.assertIsNotNone(self.successResultOf(begun(adding)))
        return b"Authorization: Bearer other"

    def link(self, **body: Any) -> bytes:
        """:return: the target of a link that the first workspace's token has made."""
        made = self.ask(post(json.dumps(body).encode(), AUTH, path=self.links))
        url: str = made.json["url"]
        return url.encode("ascii")

    @property
    def links(self) -> bytes:
        return f"/workspaces/{FIRST}/links".encode()

    def requests(self) -> dict[str, bytes]:
        """:return: a request of each kind of transfer, all with the same token."""
        file, folder = self.link(path="/home/a"), self.link(path="/home", operation="archive")
        return {
            "download": get(DOWNLOAD_TARGET, AUTH),
            "file": self.get("file?path=/home/a"),
            "upload": post(form("a"), AUTH, FORM, path=UPLOAD_TARGET),
            "write": self.get("file?path=/home/a", b"Content-Length: 1", method=b"PUT") + b"a",
            "archive": self.get("archive?path=/home/a"),
            "archive of paths": self.post("archive", ARCHIVE, JSON),
            "link to a file": get(file),
            "link to an archive": get(folder),
            "link to upload": post(form("a"), FORM, path=self.link(operation="upload")),
        }

    def assert_limited(self, request: bytes, whose: str) -> None:
        """The request is refused before the workspace is asked."""
        before = self.connections
        answer = self.caller().send(request).answer()
        self.assertEqual(self.connections, before)
        self.assertEqual((answer.status, answer.fields["retry-after"]), (429, "1"), request)
        body = answer.json
        self.assertEqual(body["error"], "too many transfers")
        self.assertEqual(body["code"], "too_many_transfers")
        option = "--max-transfers" + (f"-per-{whose}" if whose != "node" else "")
        self.assertIn(f"of this {whose} ", body["detail"])
        self.assertIn(f"{option} ", body["detail"])


class TransferTests(TransfersCase):
    """Which requests are transfers, and when they end."""

    def test_every_kind(self) -> None:
        """While one transfer runs, each kind is refused; when it has ended, each is served."""
        requests = self.requests()
        for name, request in requests.items():
            caller, wire = self.begin(request)
            self.assertEqual(self.transfers.running, 1, name)
            for other in requests.values():
                self.assert_limited(other, "token")
            wire.lose(ConnectionLost())
            caller.settle()
            self.assertEqual(caller.answer().status, 502, name)
            self.assertEqual(self.transfers.running, 0, name)

    def test_whole(self) -> None:
        """A transfer counts until its last byte is written."""
        caller, wire = self.begin(get(DOWNLOAD_TARGET, AUTH))
        whole = response(b"200 OK", b"Content-Type: text/plain", body=b"abc")
        wire.send(whole[:-1])
        self.assert_limited(get(DOWNLOAD_TARGET, AUTH), "token")
        wire.send(whole[-1:])
        self.assertEqual(caller.answer().body, b"abc")
        self.assertEqual(self.transfers.running, 0)

    def test_client_leaves(self) -> None:
        """A client that leaves, before or after the first byte, ends its transfer."""
        for received in (b"", response(body=b"abc")[:-1]):
            caller, wire = self.begin(get(DOWNLOAD_TARGET, AUTH))
            wire.send(received)
            self.assertEqual(self.transfers.running, 1)
            caller.leave()
            self.assertEqual(self.transfers.running, 0)

    def test_no_transfers(self) -> None:
        """``HEAD``, lists and digests do not count, and are served while a limit is reached."""
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        for request in (
            get(DOWNLOAD_TARGET, AUTH, method=b"HEAD"),
            self.get("archive?path=/home/a", method=b"HEAD"),
            self.get("roots"),
            self.get("entries?path=/home"),
            self.get("digest?path=/home/a"),
            self.get("file?path=/home/a", method=b"DELETE"),
            self.get("directories?path=/home/a", method=b"POST"),
        ):
            self.begin(request)
            self.assertEqual(self.transfers.running, 1)

    def test_refused_ones(self) -> None:
        """A request that is refused for another reason counts only until then."""
        for request, status in (
            (get(DOWNLOAD_TARGET.replace(b"/home", b"/etc"), AUTH), 400),
            (self.get("archive?path=x"), 400),
            (self.post("archive", b"[]", JSON), 400),
            (post(b"x", AUTH, path=UPLOAD_TARGET), 415),
            (get(DOWNLOAD_TARGET.replace(str(FIRST).encode(), b"0" * 36), ADMIN_AUTH), 400),
        ):
            answer = self.caller().send(request).answer()
            self.assertEqual(answer.status, status, request)
            self.assertEqual(self.transfers.running, 0)

    def test_order(self) -> None:
        """Credential, path, media type and length are judged before; the body is not read."""
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        for request, status in (
            (get(DOWNLOAD_TARGET, WRONG), 401),
            (get(DOWNLOAD_TARGET.replace(b"/home", b"/etc"), AUTH), 400),
            (post(b"x", AUTH, path=UPLOAD_TARGET), 415),
            (self.post("archive", b"x", b"Content-Encoding: gzip"), 415),
        ):
            self.assertEqual(self.caller().send(request).answer().status, status, request)
        for begun_upload in (
            f"POST /workspaces/{FIRST}/chat/uploads HTTP/1.1".encode(),
            f"POST /workspaces/{FIRST}/fs/archive HTTP/1.1".encode(),
        ):
            lines = (b"Host: x", AUTH, FORM, b"Content-Length: 900", b"Expect: 100-continue")
            answer = self.caller().send(b"\r\n".join([begun_upload, *lines, b"", b""])).answer()
            self.assertEqual((answer.status, answer.json["code"]), (429, "too_many_transfers"))

    def test_log(self) -> None:
        """The log says why the transfer was refused."""
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        self.assert_limited(get(DOWNLOAD_TARGET, AUTH), "token")
        (event,) = self.events()
        self.assertEqual((event.status, event.outcome), (429, "too_many_transfers"))

    def test_people(self) -> None:
        """A person who opens a link while it is in use sees a page."""
        link = self.link(path="/home/a")
        self.begin(get(link))
        answer = self.caller().send(get(link, b"Accept: text/html")).answer()
        self.assertEqual(answer.status, 429)
        self.assertTrue(answer.fields["content-type"].startswith("text/html"))

    def test_other_tokens(self) -> None:
        """Another token, and the admin token, do not share the limit."""
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        self.begin(get(DOWNLOAD_TARGET, self.other_token()))
        for _ in range(3):
            self.begin(get(DOWNLOAD_TARGET, ADMIN_AUTH))
        self.assertEqual(self.transfers.running, 5)


class WorkspaceLimitTests(TransfersCase):
    """A workspace with all its transfers."""

    workspace, token = 2, 9

    def test_limit(self) -> None:
        """The limit is that of all its tokens, the admin's too; other workspaces have their own."""
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        self.begin(get(DOWNLOAD_TARGET, ADMIN_AUTH))
        for auth in (AUTH, ADMIN_AUTH, self.other_token()):
            self.assert_limited(get(DOWNLOAD_TARGET, auth), "workspace")
        second = DOWNLOAD_TARGET.replace(str(FIRST).encode(), str(SECOND).encode())
        self.begin(get(second, ADMIN_AUTH))


class NodeLimitTests(TransfersCase):
    """A node with all its transfers."""

    node, token = 2, 9

    def test_limit(self) -> None:
        """The limit is that of all workspaces."""
        second = DOWNLOAD_TARGET.replace(str(FIRST).encode(), str(SECOND).encode())
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        self.begin(get(second, ADMIN_AUTH))
        for target in (DOWNLOAD_TARGET, second):
            self.assert_limited(get(target, ADMIN_AUTH), "node")


class FastPathTests(TransfersCase):
    """The fast path counts as the ordinary one does."""

    def setUp(self) -> None:
        super().setUp()
        cache: Any = self.context.registry
        self.fast = FastDownload(self.context, cache, DOWNLOAD)
        self.successResultOf(begun(cache.workspace(FIRST)))
        self.successResultOf(begun(cache.token(token_hash(str(FIRST)))))

    def caller(self) -> Caller:
        caller = Caller(
            platform_tree(self.context), fast_routes=self.fast, observers=(self.recorder,)
        )
        caller.site.new_request_id = lambda: "new"
        return caller

    def test_limit(self) -> None:
        """A running download is refused to others until it has ended."""
        request = get(DOWNLOAD_TARGET, AUTH)
        for number in range(1, 3):
            caller, wire = self.begin(request)
            self.assertEqual(self.transfers.running, 1)
            self.assert_limited(request, "token")
            wire.send(response())
            wire.lose(ConnectionLost())
            self.assertEqual(caller.answer().status, 200)
            self.assertEqual(caller.site.fast_path.served, 1, number)
            self.assertEqual(self.transfers.running, 0)

    def test_head(self) -> None:
        """``HEAD`` does not count."""
        self.begin(get(DOWNLOAD_TARGET, AUTH))
        self.begin(get(DOWNLOAD_TARGET, AUTH, method=b"HEAD"))

    def test_client_leaves(self) -> None:
        """A client that leaves ends its download."""
        caller, _ = self.begin(get(DOWNLOAD_TARGET, AUTH))
        caller.leave()
        self.assertEqual(self.transfers.running, 0)

    def test_handed_over(self) -> None:
        """A download that continues on the ordinary path counts once, until it has ended."""
        caller, wire = self.begin(get(DOWNLOAD_TARGET, AUTH))
        whole = response(b"200 OK", body=b"x" * 100_000)
        wire.send(whole[:-1])
        self.assertEqual(self.transfers.running, 1)
        self.assert_limited(get(DOWNLOAD_TARGET, AUTH), "token")
        wire.send(whole[-1:])
        self.assertEqual(len(caller.answer().body), 100_000)
        self.assertEqual(caller.site.fast_path.served, 0)
        self.assertEqual(self.transfers.running, 0)

    def test_defect(self) -> None:
        """An error in the fast path leaves nothing that counts."""
        self.patch(self.fast, "_ask", lambda *_: 1 / 0)
        self.begin(get(DOWNLOAD_TARGET, AUTH))  # by the ordinary path
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.transfers.running, 1)


class RefusalTests(OperationCase):
    """The limit on wrong credentials."""

    most = 2

    def setUp(self) -> None:
        super().setUp()
        cache: Any = self.context.registry
        authenticator = self.authenticator(cache, most_refusals=self.most)
        links = self.context.links
        links._authenticator = authenticator
        self.context = replace(self.context, authenticator=authenticator)

    def exhaust(self) -> None:
        """Present as many wrong credentials as are allowed."""
        for number in range(self.most):
            request = get(b"/whoami", b"Authorization: Bearer wrong-%d" % number)
            self.assertEqual(self.ask(request).status, 401)

    def assert_limited(self, request: bytes) -> None:
        """The request is refused, and the registry not asked."""
        del self.registry.asked[:]
        answer = self.ask(request)
        self.assertEqual((answer.status, answer.fields["retry-after"]), (429, "1"), request)
        self.assertEqual(answer.json["error"], "too many refused credentials")
        self.assertEqual(answer.json["code"], "too_many_refusals")
        self.assertEqual(self.registry.asked, [])

    def test_every_route(self) -> None:
        """Each route that takes a token counts, and refuses."""
        for route in ROUTES:
            if route.access is Access.ANYONE:
                continue
            names = {"token_id": FIRST, "upload_id": "0" * 32}
            path = route.path.format(workspace_id=FIRST, **names).encode()
            request = get(path, WRONG, method=route.method.encode())
            if route.method == "POST":
                request = post(b"{}", WRONG, path=path)
            elif route.method == "HEAD":
                continue  # an error has no body
            self.clock.advance(1)
            for _ in range(self.most):
                self.assertEqual(self.ask(request).status, 401, route.path)
            self.assert_limited(request)

    def test_valid_ones(self) -> None:
        """
        A token in memory and the admin token are served all the same.  A valid one that is not in
        memory is refused as a wrong one is: the response does not tell which it is.
        """
        self.exhaust()
        self.assert_limited(get(b"/whoami", AUTH))
        self.clock.advance(1)
        self.assertEqual(self.ask(get(b"/whoami", AUTH)).status, 200)
        self.exhaust()
        for auth in (AUTH, ADMIN_AUTH):
            self.assertEqual(self.ask(get(b"/whoami", auth)).status, 200)

    def test_missing_ones(self) -> None:
        """A request without a credential is not counted, and not limited."""
        for _ in range(2 * self.most):
            self.assertEqual(self.ask(get(b"/whoami")).status, 401)
        self.exhaust()
        self.assertEqual(self.ask(get(b"/whoami")).status, 401)

    def test_links(self) -> None:
        """A link with a wrong signature counts; a valid one is opened all the same."""
        body = json.dumps({"path": "/home/a"}).encode()
        made = self.ask(post(body, AUTH, path=f"/workspaces/{FIRST}/links".encode()))
        good = made.json["url"].encode()
        bad = good[:-4] + (b"AAAA" if good[-4:] != b"AAAA" else b"BBBB")
        for _ in range(self.most):
            self.assertEqual(self.ask(get(bad)).status, 403)
        self.assert_limited(get(bad))
        self.assert_limited(get(b"/whoami", WRONG))
        self.begin(get(good))

    def test_addresses(self) -> None:
        """The client is the one that trusted proxies name."""
        for_client = b"X-Forwarded-For: %b"
        self.client_of = lambda _peer, values: values[0].decode() if values else "-"
        for _ in range(self.most):
            answer = self.ask(get(b"/whoami", WRONG, for_client % b"192.0.2.1"))
            self.assertEqual(answer.status, 401)
        self.assert_limited(get(b"/whoami", WRONG, for_client % b"192.0.2.1"))
        self.assertEqual(self.ask(get(b"/whoami", WRONG, for_client % b"192.0.2.2")).status, 401)

    client_of: Any = None

    def ask(self, request: bytes) -> Any:
        tree = platform_tree(self.context)
        return Caller(tree, client_address=self.client_of).send(request).answer()
