"""
A browser that finds the controls of a page as assistive technology does: by role and name.
"""

from __future__ import annotations

import base64
import contextlib
import re
from typing import Any

import psutil

from tests.live import media
from tests.live.browser import Browser

__all__ = ["PageBrowser"]

_KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Delete": (46, ""),
    "F2": (113, ""),
    "Backspace": (8, ""),
    "Tab": (9, ""),
    "Home": (36, ""),
    "End": (35, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
}


class PageBrowser(Browser):
    """See `Browser`.  Mouse and keyboard events are real ones."""

    def __init__(self, size: tuple[int, int] = (1200, 850)) -> None:
        super().__init__(size)

    # -- finding

    def all(self, role: str, name: str | None = None) -> list[dict[str, Any]]:
        """:return: the accessible nodes with this role and, unless it is ``None``, this name."""
        root = self.devtools("DOM.getDocument", depth=0)["root"]["nodeId"]
        query: dict[str, Any] = {"nodeId": root, "role": role}
        if name is not None:
            query["accessibleName"] = name
        nodes = self.devtools("Accessibility.queryAXTree", **query)["nodes"]
        return [node for node in nodes if not node["ignored"]]

    def names(self, role: str) -> list[str]:
        """:return: the names of all accessible nodes with this role."""
        return [node["name"]["value"] for node in self.all(role)]

    def node(self, role: str, name: str | None = None) -> dict[str, Any]:
        """:return: the only such node, once it is there."""
        try:
            found: list[dict[str, Any]] = self.until(
                lambda: self.all(role, name), f"there is a {role} {name!r}"
            )
        except AssertionError as error:
            text = self.run("return location.hash + ' ' + document.body.innerText")
            logged = "\n".join(self.console())
            raise AssertionError(f"{error}; the page says: {text}\n{logged}") from None
        if len(found) != 1:
            raise AssertionError(f"{len(found)} times {role} {name!r}")
        return found[0]

    def gone(self, role: str, name: str | None = None) -> None:
        """Wait until there is no such node."""
        self.until(lambda: not self.all(role, name), f"there is no {role} {name!r}")

    def property(self, node: dict[str, Any], name: str) -> Any:
        """:return: a property of an accessible node, or ``None``."""
        found = [each["value"].get("value") for each in node["properties"] if each["name"] == name]
        return found[0] if found else None

    def object(self, role: str, name: str | None = None) -> str:
        """:return: the id of the element, for `apply`."""
        node = self.node(role, name)
        resolved = self.devtools("DOM.resolveNode", backendNodeId=node["backendDOMNodeId"])
        return str(resolved["object"]["objectId"])

    def apply(self, function: str, role: str, name: str | None = None) -> Any:
        """:return: what a JavaScript function returns whose ``this`` is the element."""
        result = self.devtools(
            "Runtime.callFunctionOn",
            functionDeclaration=function,
            objectId=self.object(role, name),
            returnByValue=True,
        )
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def status(self, part: str) -> None:
        """Wait until the live region says this."""
        script = "return document.querySelector('[role=status]').textContent"
        self.until(lambda: part in self.run(script), f"the status says {part!r}")

    # -- acting

    def click(self, role: str, name: str | None = None) -> None:
        """Click with the mouse, once the element stays where it is."""
        node = self.node(role, name)["backendDOMNodeId"]
        self.devtools("DOM.scrollIntoViewIfNeeded", backendNodeId=node)
        quad, before = self._quad(node), None
        while quad != before:
            frame = "new Promise(requestAnimationFrame)"
            self.devtools("Runtime.evaluate", expression=frame, awaitPromise=True)
            quad, before = self._quad(node), quad
        place = {"x": sum(quad[::2]) / 4, "y": sum(quad[1::2]) / 4, "button": "left"}
        for kind in ("mousePressed", "mouseReleased"):
            self.devtools("Input.dispatchMouseEvent", type=kind, clickCount=1, **place)

    def _quad(self, node: int) -> list[float]:
        quads: list[list[float]] = self.devtools("DOM.getContentQuads", backendNodeId=node)["quads"]
        return quads[0]

    def press(self, key: str) -> None:
        """Press a key, where the focus is."""
        code, text = _KEYS[key]
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        kind = "keyDown" if text else "rawKeyDown"
        self.devtools("Input.dispatchKeyEvent", type=kind, text=text, **event)
        self.devtools("Input.dispatchKeyEvent", type="keyUp", **event)

    def enter(self, text: str, role: str, name: str) -> None:
        """Type into a field."""
        self.apply("function() { this.focus(); this.select(); }", role, name)
        self.devtools("Input.insertText", text=text)

    def focused(self) -> str:
        """:return: the accessible name of the element that has the focus."""
        script = "document.activeElement"
        found = self.devtools("Runtime.evaluate", expression=script)["result"]["objectId"]
        asked = {"objectId": found, "fetchRelatives": False}
        (node,) = self.devtools("Accessibility.getPartialAXTree", **asked)["nodes"]
        return str(node.get("name", {}).get("value", ""))

    def colour(self, x: int, y: int) -> tuple[int, ...]:
        """:return: the colour of a pixel of the window: red, green, blue."""
        left, top = self.run("return [scrollX, scrollY]")  # a clip is relative to the document
        clip = {"x": left + x, "y": top + y, "width": 4, "height": 4, "scale": 1}
        shot = self.devtools("Page.captureScreenshot", clip=clip)["data"]
        return media.png_pixel(base64.b64decode(shot), 0.5, 0.5)

    def memory(self) -> int:
        """:return: the most bytes that a process of a tab has had in memory."""
        peaks = [0]
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "--type=renderer" in process.cmdline():
                    with open(f"/proc/{process.pid}/status") as file:
                        peaks += re.findall(r"VmHWM:\s+(\d+) kB", file.read())
        return max(map(int, peaks)) * 1024

    def look(self, **features: str) -> None:
        """Emulate media features, such as ``prefers-color-scheme``; underscores become dashes."""
        given = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=given)
