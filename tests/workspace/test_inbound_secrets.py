"""
How one inbound secret follows another: what a workspace accepts, and that it shares a secret with
the platform wherever it is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.model import token_hash
from chatfiles.rules.next_secret import acknowledgement, acknowledges
from chatfiles.workspace.inbound_secrets import KEPT_NS, OVERLAP, SEEN_NS, InboundSecrets, Learned
from chatfiles.workspace.secret_file import SecretFile
from tests.contract.file_store import answers_at_once, scratch

ONE, TWO, THREE = "secret-one", "secret-two", "secret-three"
SECOND_NS = 1_000_000_000


class SecretsCase(SynchronousTestCase):
    """
    A directory of secrets.

    :ivar now_ns: the time.
    """

    def setUp(self) -> None:
        self.top = scratch(self)
        self.now_ns = 4_000_000_000 * SECOND_NS  # later than the times of all files
        self.path = self.top + b"/.platform_inbound_secret"
        self.secrets = self.restarted()

    def restarted(self) -> InboundSecrets:
        """:return: the secrets of a process that has just started."""
        return InboundSecrets(self.path, lambda: self.now_ns)

    def accepted(self, secrets: InboundSecrets | None = None) -> set[str]:
        """:return: which of the secrets are accepted."""
        known = (ONE, TWO, THREE)
        return {each for each in known if (secrets or self.secrets).matches(each.encode())}

    def pass_seconds(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)

    def names(self) -> list[str]:
        """:return: the files, without the beginning of their names."""
        found = [name.removeprefix(b".platform_inbound_secret") for name in os.listdir(self.top)]
        return sorted(os.fsdecode(name) for name in found)


class LearnTests(SecretsCase):
    """What a workspace stores and accepts of what a platform says."""

    def test_first(self) -> None:
        """The first secret is the only one."""
        self.assertEqual(self.accepted(), set())
        self.assertEqual(self.secrets.learn(ONE, None), Learned(True, False))
        self.assertEqual(self.secrets.learn(ONE, None), Learned(False, False))
        self.assertEqual(self.accepted(), {ONE})
        self.assertEqual(self.names(), [""])

    def test_rotation(self) -> None:
        """
        The next secret is accepted beside the current one; then the current one for some time
        beside its successor.
        """
        self.secrets.learn(ONE, None)
        self.assertEqual(self.secrets.learn(ONE, TWO), Learned(False, True))
        self.assertEqual(self.secrets.learn(ONE, TWO), Learned(False, False))
        self.assertEqual(self.accepted(), {ONE, TWO})
        self.assertEqual(os.stat(self.path + b"_next").st_mode & 0o777, 0o600)
        self.assertEqual(self.secrets.learn(TWO, None), Learned(True, False))
        self.assertEqual(self.names(), ["", "_previous"])
        self.assertEqual(os.stat(self.path + b"_previous").st_mode & 0o777, 0o600)
        self.pass_seconds(OVERLAP - 1)
        for secrets in (self.secrets, self.restarted()):
            self.assertEqual(self.accepted(secrets), {ONE, TWO})
        self.pass_seconds(1)
        for secrets in (self.secrets, self.restarted()):
            self.assertEqual(self.accepted(secrets), {TWO})
        self.secrets.learn(TWO, None)
        self.assertEqual(self.names(), [""])

    def test_rotated_meanwhile(self) -> None:
        """Both secrets are accepted while one becomes the other, whichever file is read then."""
        for presented in (ONE, TWO):
            for name in ("current", "next", "previous"):
                for method in ("read", "read_at_once"):
                    self.secrets = self.restarted()
                    self.secrets.learn(THREE, None)
                    self.secrets.learn(ONE, TWO)
                    self.learn_after(getattr(self.secrets, name), method)
                    found = self.secrets.matches(
                        presented.encode(), at_once=method == "read_at_once"
                    )
                    self.assertTrue(found, (presented, name, method))

    def learn_after(self, file: SecretFile, method: str) -> None:
        """Let the platform promote the next secret, in another thread, after the next read."""
        read = getattr(file, method)

        def reading() -> str | None:
            delattr(file, method)
            secret: str | None = read()
            self.restarted().learn(TWO, None)
            return secret

        setattr(file, method, reading)

    def test_replaced(self) -> None:
        """Another next secret takes the place of one that was never promoted."""
        self.secrets.learn(ONE, TWO)
        self.assertEqual(self.secrets.learn(ONE, THREE), Learned(False, True))
        self.assertEqual(self.accepted(), {ONE, THREE})

    def test_kept(self) -> None:
        """A response that offers no next secret may come from a node that does not know of it."""
        self.secrets.learn(ONE, TWO)
        self.secrets.learn(ONE, None)
        self.assertEqual(self.accepted(), {ONE, TWO})

    def test_forced(self) -> None:
        """A secret that was not offered before ends all others at once: they may have leaked."""
        self.secrets.learn(ONE, TWO)
        self.secrets.learn(TWO, None)
        self.secrets.learn(TWO, ONE)
        self.secrets.learn(THREE, None)
        self.assertEqual(self.accepted(), {THREE})
        self.assertEqual(self.names(), [""])

    def test_late_node(self) -> None:
        """
        A node that does not know of the promotion yet says the old secret.  Both remain accepted,
        and so does a next one.
        """
        self.secrets.learn(ONE, TWO)
        self.secrets.learn(TWO, THREE)
        for told in (ONE, TWO, ONE):
            self.secrets.learn(told, None)
            self.assertEqual(self.accepted(), {ONE, TWO, THREE}, told)
        self.secrets.learn(ONE, TWO)  # this node still offers it
        self.secrets.learn(TWO, None)
        self.assertEqual(self.accepted(), {ONE, TWO})

    def test_clock(self) -> None:
        """A clock that was set back does not prolong the time of the previous secret."""
        self.secrets.learn(ONE, TWO)
        self.secrets.learn(TWO, None)
        self.pass_seconds(-1)
        self.assertEqual(self.accepted(), {TWO})

    def test_without_current(self) -> None:
        """Without a current secret none is accepted, whatever the other files hold."""
        self.secrets.learn(ONE, TWO)
        self.secrets.learn(TWO, THREE)
        os.unlink(self.path)
        self.assertEqual(self.accepted(), set())
        self.assertFalse(self.secrets.present())

    def test_damaged(self) -> None:
        """Files that hold something else add no secret."""
        self.secrets.learn(ONE, None)
        for content in (b"", b"no-end", b"x.secret-two", b".secret-two", b"4000000060."):
            with open(self.path + b"_previous", "wb") as file:
                file.write(content)
            self.assertEqual(self.accepted(), {ONE}, content)
            self.assertFalse(self.secrets.matches(b""))

    def test_long(self) -> None:
        """A secret that is too long for the file with its end has no overlap, but a successor."""
        long = "x" * 4096
        self.secrets.learn(long, TWO)
        self.secrets.learn(TWO, None)
        self.assertEqual(self.accepted(), {TWO})
        self.assertFalse(self.secrets.matches(long.encode()))

    def test_acknowledgement(self) -> None:
        """The next secret is acknowledged when every process has seen it, also after a restart."""
        self.assertIsNone(self.secrets.acknowledgement())
        self.secrets.learn(ONE, TWO)
        stored_ns = os.stat(self.path + b"_next").st_mtime_ns
        for age, expected in ((0, None), (SEEN_NS - 1, None), (SEEN_NS, TWO), (-1, TWO)):
            self.now_ns = stored_ns + age
            given = self.restarted().acknowledgement()
            self.assertEqual(given, expected and acknowledgement(expected), age)


class AtOnceTests(SecretsCase):
    """What the reactor thread accepts without waiting."""

    def setUp(self) -> None:
        super().setUp()
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        self.secrets.learn(ONE, None)
        self.accepted()  # the kernel learns what is missing

    def at_once(self) -> set[str]:
        known = (ONE, TWO, THREE)
        found = {each for each in known if self.secrets.has_digest_at_once(token_hash(each))}
        same = {each for each in known if self.secrets.matches(each.encode(), at_once=True)}
        self.assertEqual(found, same)
        return found

    def test_another_process(self) -> None:
        """
        What another process stores is accepted: a current secret and its predecessor at once, a
        next one before it is acknowledged.
        """
        other = self.restarted()
        self.assertEqual(self.at_once(), {ONE})
        other.learn(ONE, TWO)
        self.pass_seconds(KEPT_NS / SECOND_NS)
        self.assertEqual(self.at_once(), {ONE, TWO})
        self.assertLess(KEPT_NS, SEEN_NS)
        other.learn(TWO, None)
        self.assertEqual(self.at_once(), {ONE, TWO})
        self.pass_seconds(OVERLAP)
        self.assertEqual(self.at_once(), {TWO})

    def test_looks_seldom(self) -> None:
        """While nothing changes, the other files are looked for once a second."""
        looks = 0

        def counted(read: Callable[[], str | None]) -> Callable[[], str | None]:
            def reading() -> str | None:
                nonlocal looks
                looks += 1
                return read()

            return reading

        for file in (self.secrets.next, self.secrets.previous):
            self.patch(file, "read_at_once", counted(file.read_at_once))
        self.pass_seconds(1)
        for _ in range(5):
            self.at_once()
        self.assertEqual(looks, 2)


class Killed(BaseException):
    """The process was killed."""


class KilledTests(SecretsCase):
    """A process that is killed before any change of a file, and starts again."""

    def setUp(self) -> None:
        super().setUp()
        self.left = 0
        self.is_learning = False
        for name in ("open", "rename", "unlink", "fsync"):
            self.patch(os, name, self.killing(getattr(os, name)))

    def killing(self, call: Any) -> Any:
        """:return: a system call before which the process may be killed."""

        def calling(*arguments: Any, **more: Any) -> Any:
            self.left -= self.is_learning
            if self.is_learning and self.left < 0:
                raise Killed
            return call(*arguments, **more)

        return calling

    def heartbeat(self, platform: _Platform) -> bool:
        """:return: whether the process was killed, and has started again."""
        self.is_learning = True
        try:
            given = self.secrets.acknowledgement()
            self.secrets.learn(*platform.hear(given))
        except Killed:
            self.secrets, self.left = self.restarted(), 1_000_000
            return True
        finally:
            self.is_learning = False
        return False

    def scenario(self, number: int) -> bool:
        """
        Rotate twice; the process is killed before this system call.

        :return: whether it was killed.
        """
        platform = _Platform(ONE)
        self.secrets.learn(*platform.hear(None))
        was_killed, self.left = False, number
        for following in (TWO, THREE):
            platform.following = following
            for _ in range(4):
                presented = platform.presented
                was_killed |= self.heartbeat(platform)
                # Nodes that do not know of the last promotion present the secret before it.
                for secret in (platform.presented, presented):
                    self.assertIn(secret, self.accepted(), (number, following))
                self.pass_seconds(SEEN_NS / SECOND_NS)
            self.assertEqual(platform.presented, following)
            self.assertIsNone(platform.following)
            self.assertEqual(set(self.names()) - {"_previous"}, {""}, number)
        return was_killed

    def test_everywhere(self) -> None:
        """Wherever it is killed, it shares a secret with all nodes, and the rotations end."""
        number = 0
        while self.scenario(number):
            number += 1
            for name in os.listdir(self.top):
                os.unlink(os.path.join(self.top, name))
            self.secrets = self.restarted()
        self.assertGreater(number, 40)


class _Platform:
    """
    A platform.

    :param presented: the secret that it presents.
    """

    def __init__(self, presented: str) -> None:
        self.presented = presented
        self.following: str | None = None

    def hear(self, given: str | None) -> tuple[str, str | None]:
        """:return: the response to a heartbeat with an acknowledgement."""
        if self.following is not None and acknowledges(given, self.following):
            self.presented, self.following = self.following, None
        return self.presented, self.following
