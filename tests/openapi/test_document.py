"""
The OpenAPI document: its form, its routes, its codes, and the JSON that is served.
"""

from __future__ import annotations

import re

from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.trial.unittest import SynchronousTestCase

from chatfiles import __version__
from chatfiles.http.server.router import ANY
from chatfiles.platform.authentication import Access
from chatfiles.platform.routes.route_table import ROUTES, platform_tree
from chatfiles.rules.error_codes import ERROR_CODES
from tests.openapi.document import JSON, Seen, document
from tests.platform.memory_platform import MemoryPlatformCase
from tests.support.memory_client import Caller, Received, get

#: Who may use a route, in the words of the document.
SCOPES = {
    Access.ANYONE: "public",
    Access.WORKSPACE: "any token",
    Access.READ: "read",
    Access.WRITE: "write",
    Access.LINK: "read or write",
    Access.ANY_TOKEN: "any token",
    Access.AGENT: "agent",
    Access.REGISTER: "agent",
    Access.CHANNEL: "agent",
    Access.ADMIN: "admin",
}
#: The methods of the routes that check the method themselves, after the link.
OF_LINKS = {
    "/links/file": {"GET", "HEAD"},
    "/links/archive": {"GET", "HEAD"},
    "/links/upload": {"GET", "HEAD", "POST"},
}
#: One line of the document stands for the page and its files.
PAGE = "/ui/"


def routes() -> dict[tuple[str, str], str]:
    """:return: the scope of each method and path of the resource tree, in the document's words."""
    found: dict[tuple[str, str], str] = {}
    for route in ROUTES:
        path = route.path.replace("{workspace_id}", "{id}")
        path = PAGE if path.startswith("/ui") else path
        methods = {route.method}
        if route.method == ANY:
            methods = OF_LINKS[path]
        elif route.method == "GET":
            methods = {"GET", "HEAD"}
        scope = "a signed link" if route.method == ANY else SCOPES[route.access]
        found |= {(method, path): found.get((method, path), scope) for method in methods}
    return found


class DocumentTests(SynchronousTestCase):
    """``chatfiles/openapi.yaml``."""

    def setUp(self) -> None:
        self.document = document()

    def test_valid(self) -> None:
        """It is a document of OpenAPI 3.1.0, and of this version."""
        content = self.document.content
        self.assertEqual(list(OpenAPIV31SpecValidator(dict(content)).iter_errors()), [])
        self.assertEqual((content["openapi"], content["info"]["version"]), ("3.1.0", __version__))

    def test_routes(self) -> None:
        """It has each route and method of the resource tree with its scope, and no other one."""
        listed = {key: each["x-scope"] for key, each in self.document.operations.items()}
        self.assertEqual(listed, routes())

    def test_security(self) -> None:
        """Routes for anyone, and signed links, need no bearer token; all others do."""
        self.assertEqual(self.document.content["security"], [{"bearer": []}])
        for key, operation in self.document.operations.items():
            free = operation["x-scope"] in ("public", "a signed link")
            self.assertEqual(operation.get("security"), [] if free else None, key)

    def test_codes(self) -> None:
        """Each error code stands in a response, and no other one."""
        responses = [
            response
            for operation in self.document.operations.values()
            for response in operation["responses"].values()
        ]
        listed = {code for response in responses for code in response.get("x-codes", ())}
        self.assertEqual(listed, set(ERROR_CODES))

    def test_errors(self) -> None:
        """Each error has codes and the schema of errors; so has the default of each operation."""
        error = {"schema": {"$ref": "#/components/schemas/Error"}}
        for key, operation in self.document.operations.items():
            self.assertIn("default", operation["responses"], key)
            for status, response in operation["responses"].items():
                is_error = status == "default" or int(status) >= 400
                self.assertEqual("x-codes" in response, is_error, (key, status))
                if is_error:
                    self.assertEqual(response["content"]["application/json"], error, (key, status))

    def test_operations(self) -> None:
        """Each operation has an id of its own, and declares the parameters of its path."""
        operations = self.document.operations
        ids = [operation["operationId"] for operation in operations.values()]
        self.assertEqual(len(set(ids)), len(ids))
        for (method, path), operation in operations.items():
            given = [each["$ref"].rpartition("/")[2] for each in operation.get("parameters", ())]
            known = self.document.content["components"]["parameters"]
            of_path = {name for name in given if known[name]["in"] == "path"}
            self.assertEqual(of_path, set(re.findall(r"{(\w+)}", path)), (method, path))

    def test_allowed(self) -> None:
        """A response is compared by its route, method, status and code."""
        path = "/workspaces/1b4e28ba-2fa1-11d2-883f-0016d3cca427/fs/digest"
        for seen, allowed in (
            (Seen("GET", path, 200), True),
            (Seen("GET", path, 206), False),
            (Seen("GET", path.replace("digest", "file"), 299), True),  # of a third party
            (Seen("GET", path, 404, "file_not_found"), True),
            (Seen("GET", path, 404, "upload_not_found"), False),
            (Seen("GET", path, 410, "file_not_found"), False),
            (Seen("GET", path, 431, "header_fields_too_large"), True),
            (Seen("GET", path, 418, ""), True),  # relayed from a third party
            (Seen("PUT", path, 405, "method_not_allowed"), True),
            (Seen("PUT", path, 200), False),
            (Seen("POST", "/links/file", 400, "malformed_link"), True),
            (Seen("GET", "/nothing", 404, "no_route"), True),
            (Seen("GET", "/nothing", 200), False),
        ):
            self.assertEqual(self.document.allows(seen), allowed, seen)


class ServedTests(MemoryPlatformCase):
    """``/openapi.json``."""

    def served(self, *lines: str, method: bytes = b"GET") -> Received:
        """:return: the response to a client without a credential."""
        request = get(b"/openapi.json", *(line.encode() for line in lines), method=method)
        return Caller(platform_tree(self.context)).send(request).answer(head=method == b"HEAD")

    def test_json(self) -> None:
        """The JSON is that of the YAML."""
        with open(JSON, encoding="utf-8") as file:
            text = file.read()
        self.assertTrue(text == document().text, "run python -m tests.openapi")
        answer = self.served()
        self.assertEqual((answer.status, answer.body.decode()), (200, text))
        self.assertEqual(answer.fields["content-type"], "application/json")
        self.assertEqual(answer.fields["cache-control"], "no-cache")

    def test_cached(self) -> None:
        """It has a strong entity tag, and a client that has it receives 304."""
        tag = self.served().fields["etag"]
        self.assertRegex(tag, r'\A"[0-9a-f]{32}"\Z')
        answer = self.served(f"If-None-Match: {tag}")
        self.assertEqual((answer.status, answer.fields["etag"], answer.body), (304, tag, b""))
        self.assertEqual(self.served('If-None-Match: "x"').status, 200)

    def test_methods(self) -> None:
        """``HEAD`` has the same headers; other methods are refused."""
        head, whole = self.served(method=b"HEAD"), self.served()
        self.assertEqual((head.status, head.fields, head.body), (200, whole.fields, b""))
        self.assertEqual(self.served(method=b"POST").fields["allow"], "GET, HEAD")
