"""
Files with several virtual paths.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.files.path_aliases import PathAliases

CONFIGS, WORKSPACE, HOME = b"/configs", b"/workspace", b"/home"


class AliasTests(SynchronousTestCase):
    """The other virtual paths of a file: a rule about one of its paths holds for all."""

    def names(self, roots: dict[bytes, bytes], raw: bytes, *more: bytes) -> set[bytes]:
        aliases = PathAliases(roots.items(), [(CONFIGS, place) for place in more])
        return set(aliases.of(b"/" + raw.split(b"/")[1], raw))

    def test_apart(self) -> None:
        """Separate directories have no aliases, however similar their names."""
        roots = {CONFIGS: b"/srv/ws-conf", WORKSPACE: b"/srv/ws", HOME: b"/srv/w"}
        for root in roots:
            self.assertEqual(self.names(roots, root + b"/conf/a"), set())

    def test_inner(self) -> None:
        """A file of a root within another has a path in each of them."""
        roots = {WORKSPACE: b"/srv/ws", CONFIGS: b"/srv/ws/a/conf"}
        for raw, expected in {
            b"/workspace/a/conf/.hermes/key": {b"/configs/.hermes/key"},
            b"/workspace/a/conf": {b"/configs"},
            b"/workspace/a/conf2/key": set(),
            b"/workspace/a": set(),
            b"/configs/key": {b"/workspace/a/conf/key"},
            b"/configs": {b"/workspace/a/conf"},
        }.items():
            self.assertEqual(self.names(roots, raw), expected, raw)

    def test_same(self) -> None:
        """A file has a path in both roots if they are one directory, or if one is ``/``."""
        roots = {WORKSPACE: b"/srv/ws", HOME: b"/srv/ws"}
        self.assertEqual(self.names(roots, b"/home/a/b"), {b"/workspace/a/b"})
        roots = {WORKSPACE: b"/", CONFIGS: b"/etc/conf"}
        self.assertEqual(self.names(roots, b"/workspace/etc/conf/x"), {b"/configs/x"})
        self.assertEqual(self.names(roots, b"/configs/x"), {b"/workspace/etc/conf/x"})

    def test_more(self) -> None:
        """
        A file in the directory of the credentials has an alias in ``/configs``, if it is elsewhere.
        """
        roots = {WORKSPACE: b"/srv/ws", CONFIGS: b"/srv/conf"}
        names = self.names(roots, b"/workspace/.c/.auth_token.bak", b"/srv/ws/.c", b"/srv/conf")
        self.assertEqual(names, {b"/configs/.auth_token.bak"})
        self.assertEqual(self.names(roots, b"/configs/a", b"/srv/ws/.c", b"/srv/conf"), set())
