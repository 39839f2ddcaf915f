"""
Tests for `chatfiles.workspace.files.open_beneath`: one suite for both mechanisms.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import pickle
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import (
    ChatfilesError,
    Forbidden,
    InvalidPath,
    NotARegularFile,
    NotFound,
    ReadFailed,
    Unavailable,
)
from chatfiles.posix import openat2
from chatfiles.posix.openat2 import (
    Mechanism,
    best_mechanism,
    by_openat2,
    by_walk,
    cache_answers,
)
from chatfiles.workspace.files import open_beneath as module
from chatfiles.workspace.files.open_beneath import (
    open_beneath,
    open_directory,
    open_regular,
    refusal,
)
from tests.contract.file_store import NAMES, Kind, Symlink, Tree, build, scratch

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

T = TypeVar("T")
NOBODY = 65534
_IN_OPEN = 0x20


def as_nobody(function: Callable[[], T]) -> T:
    """:return: the result of *function*, called without root's rights, in a child where needed."""
    if os.geteuid() != 0:
        return function()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, pickle.dumps(function()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        answer = told.read()
    os.waitpid(child, 0)
    result: T = pickle.loads(answer)
    return result


class Opens:
    """
    Reports, through inotify, whether any process opens a path for reading or writing.

    :param path: what is watched.
    """

    def __init__(self, path: bytes) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, path, _IN_OPEN) < 0:
            raise SkipTest("inotify is not available here")

    def seen(self) -> bool:
        """:return: whether it was opened since the last call."""
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)


def read_beneath(
    root_fd: int, path: bytes, mechanism: Mechanism, reopen: bool | None = None
) -> bytes | type[ChatfilesError]:
    """:return: what the file at *path* begins with, or the class of the refusal."""
    try:
        fd, _ = open_regular(root_fd, path.split(b"/"), mechanism=mechanism, reopen=reopen)
    except ChatfilesError as error:
        return type(error)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


class _Mechanism(_Base):
    """The suite, run for each mechanism, each with and without ``/proc/self/fd``."""

    mechanism: Mechanism
    reopen = True

    def setUp(self) -> None:
        self.top = scratch(self)
        os.mkdir(self.top + b"/root")
        build(self.top, {b"outside/secret": b"SECRET"})
        self.root = os.open(self.top + b"/root", os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, self.root)

    def build(self, tree: Tree) -> None:
        build(self.top + b"/root", tree)

    def read(self, path: bytes) -> bytes | type[ChatfilesError]:
        return read_beneath(self.root, path, self.mechanism, self.reopen)

    def assertVerdicts(self, verdicts: Sequence[tuple[bytes, object]]) -> None:
        self.assertEqual([(path, self.read(path)) for path, _ in verdicts], list(verdicts))

    def test_names(self) -> None:
        """A legal but unusual name can be opened, as a file or on the way."""
        self.build({b"as parent/" + name + b"/" + name: name for name in NAMES})
        self.assertVerdicts([(b"as parent/" + n + b"/" + n, n) for n in NAMES])

    def test_deep(self) -> None:
        """A deep path is opened or refused; no descriptor stays open."""
        path = b"/".join([b"d"] * 200) + b"/f"
        self.build({path: b"deep"})
        before = os.listdir("/proc/self/fd")
        self.assertVerdicts([(path, b"deep"), (path + b"/x", NotFound), (path + b"x", NotFound)])
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_symlinks(self) -> None:
        """A symlink is not a regular file, wherever it is and leads, and is never followed."""
        self.build(
            {
                b"d/f": b"f",
                b"leaf": Symlink(b"d/f"),
                b"out": Symlink(b"../outside/secret"),
                b"abs": Symlink(self.top + b"/outside/secret"),
                b"dir": Symlink(b"d"),
                b"outdir": Symlink(b"../outside"),
                b"a": Symlink(b"b"),
                b"b": Symlink(b"a"),
                b"dangling": Symlink(b"nowhere"),
                b"slash": Symlink(b"/"),
                b"d/deeper/self": Symlink(b"."),
            }
        )
        paths = (
            b"leaf,leaf/x,out,abs,dir,dir/f,dir/none,dir/none/x,dir/f/x,outdir/secret,outdir,"
            b"a,a/x,b,dangling,dangling/x,slash,slash/etc/passwd,d/deeper/self,d/deeper/self/self"
        ).split(b",")
        self.assertVerdicts([(path, NotARegularFile) for path in paths])

    def test_first_obstacle_decides(self) -> None:
        """The first obstacle on the way decides the refusal, whatever is behind it."""
        self.build({b"f": b"f", b"l": Symlink(b"f"), b"fifo": Kind.FIFO, b"s": Kind.SOCKET})
        below_files = (b"f/x", b"f/l", b"f/l/x", b"fifo/x", b"s/x", b"none", b"none/l", b"none/f/x")
        self.assertVerdicts([(path, NotFound) for path in below_files])

    def test_magic_links(self) -> None:
        """A link of procfs, which leads anywhere without a path, is not followed."""
        self.build(
            {
                b"root": Symlink(b"/proc/self/root/etc/passwd"),
                b"cwd": Symlink(b"/proc/self/cwd"),
                b"stdin": Symlink(b"/dev/stdin"),
                b"fd": Symlink(b"/proc/self/fd"),
            }
        )
        for path in (b"root", b"cwd", b"cwd/x", b"stdin", b"fd", b"fd/0"):
            self.assertIs(self.read(path), NotARegularFile, path)
        proc = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, proc)
        for path in (b"root/etc/passwd", b"cwd", b"exe", b"fd/%d" % self.root, b"root"):
            self.assertIs(read_beneath(proc, path, self.mechanism), NotARegularFile, path)

    def test_special_files(self) -> None:
        """A directory, FIFO or socket is refused, without waiting for a FIFO's writer."""
        self.build({b"d": Kind.DIRECTORY, b"fifo": Kind.FIFO, b"socket": Kind.SOCKET})
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.top + b"/root/live")
            listening.listen()
            self.assertVerdicts(
                [(path, NotARegularFile) for path in (b"d", b"fifo", b"socket", b"live")]
            )

    def test_directory_is_named(self) -> None:
        """The error says that a directory is one; of other files it does not say what they are."""
        self.build({b"d": Kind.DIRECTORY, b"fifo": Kind.FIFO})
        for path, detail in ((b"d", "it is a directory"), (b"fifo", None)):
            error = self.assertRaises(
                NotARegularFile,
                open_regular,
                self.root,
                [path],
                mechanism=self.mechanism,
                reopen=self.reopen,
            )
            self.assertEqual(error.detail, detail)

    def test_writer_sleeps_on(self) -> None:
        """
        With ``/proc``, a FIFO is refused without opening it, so that a program that waits to write
        into it is not woken, and killed by SIGPIPE.
        """
        self.build({b"fifo": Kind.FIFO})
        opens = Opens(self.top + b"/root/fifo")
        self.addCleanup(opens.close)
        self.assertIs(self.read(b"fifo"), NotARegularFile)
        self.assertEqual(opens.seen(), not self.reopen)
        os.close(os.open(self.top + b"/root/fifo", os.O_RDONLY | os.O_NONBLOCK))
        self.assertTrue(opens.seen())

    def test_devices(self) -> None:
        """A device that was put among the files is refused."""
        for kind, name, device in (
            (stat.S_IFCHR, b"null", os.makedev(1, 3)),
            (stat.S_IFBLK, b"none", os.makedev(0, 250)),
        ):
            try:
                os.mknod(self.top + b"/root/" + name, 0o666 | kind, device)
            except PermissionError:
                raise SkipTest("making devices takes root's rights") from None
            self.assertIs(self.read(name), NotARegularFile, name)

    def test_no_permission(self) -> None:
        """
        What may not be read, or passed through, is `Forbidden`, neither missing nor a failure.
        """
        self.build(
            {b"f": b"f", b"closed/f": b"f", b"listed/f": b"f", b"passed/f": b"f", b"p": Kind.FIFO}
        )
        for name, mode in ((b"f", 0), (b"closed", 0), (b"listed", 0o444), (b"passed", 0o111)):
            os.chmod(self.top + b"/root/" + name, mode)
        os.chmod(self.top + b"/root/p", 0)
        for name in (b"closed", b"listed", b"passed"):
            self.addCleanup(os.chmod, self.top + b"/root/" + name, 0o755)
        paths = (b"f", b"closed/f", b"closed/none", b"listed/f", b"passed/f", b"closed", b"p")
        got = as_nobody(lambda: [self.read(path) for path in paths])
        self.assertEqual(got[:5], [Forbidden, Forbidden, Forbidden, Forbidden, b"f"])
        # Without /proc a special file has to be opened to be known as one.
        self.assertEqual(got[5:], [NotARegularFile] * 2 if self.reopen else [Forbidden] * 2)

    def test_moved_root(self) -> None:
        """The descriptor of the root stays valid when the directory is renamed."""
        self.build({b"f": b"f"})
        os.rename(self.top + b"/root", self.top + b"/elsewhere")
        self.assertVerdicts([(b"f", b"f")])

    def test_leased(self) -> None:
        """
        A file that another program holds a lease on is unavailable at once; the role does not wait
        for up to 45 seconds.
        """
        self.build({b"f": b"f"})
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, signal.SIG_IGN))
        with open(self.top + b"/root/f", "r+b") as held:
            try:
                fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError:
                raise SkipTest("this file system has no leases") from None
            self.assertVerdicts([(b"f", Unavailable)])
        self.assertVerdicts([(b"f", b"f")])

    def test_descriptor(self) -> None:
        """The descriptor is read-only, and child processes do not inherit it."""
        self.build({b"f": b"f"})
        fd, facts = open_regular(self.root, [b"f"], mechanism=self.mechanism, reopen=self.reopen)
        self.addCleanup(os.close, fd)
        self.assertTrue(os.path.samestat(os.fstat(fd), facts))
        self.assertFalse(os.get_inheritable(fd))
        self.assertEqual(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE, os.O_RDONLY)

    def test_asked_for(self) -> None:
        """
        `open_beneath` respects the flags that it is given, and follows symlinks with none of them.
        """
        self.build({b"d/f": b"f", b"l": Symlink(b"d")})

        def beneath(path: bytes, flags: int) -> int:
            fd = open_beneath(self.root, path.split(b"/"), flags, mechanism=self.mechanism)
            self.addCleanup(os.close, fd)
            return fd

        directory = beneath(b"d", os.O_RDONLY | os.O_DIRECTORY)
        self.assertEqual(os.listdir(directory), ["f"])
        handle = beneath(b"d/f", os.O_PATH)
        self.assertRaises(OSError, os.read, handle, 1)
        self.assertFalse(os.get_inheritable(handle))
        for flags in (os.O_PATH, os.O_PATH | os.O_NOFOLLOW, os.O_RDONLY, os.O_DIRECTORY):
            self.assertRaises(NotARegularFile, beneath, b"l", flags)
        self.assertRaises(NotFound, beneath, b"d/f", os.O_DIRECTORY)

    def test_directory(self) -> None:
        """`open_directory` opens a directory of the machine, and follows no symlink in its path."""
        self.build({b"d/e/f": b"f", b"l": Symlink(b"d")})
        for path in (b"/", self.top + b"/root/d/e"):
            fd = open_directory(path, mechanism=self.mechanism)
            self.addCleanup(os.close, fd)
            self.assertTrue(os.path.samestat(os.fstat(fd), os.stat(path)))
        for path, code in ((b"l", errno.ELOOP), (b"l/e", errno.ELOOP), (b"x", errno.ENOENT)):
            with self.assertRaises(OSError) as caught:
                open_directory(self.top + b"/root/" + path, mechanism=self.mechanism)
            self.assertEqual(caught.exception.errno, code)


class OpenAt2Tests(_Mechanism, SynchronousTestCase):
    """Opening with openat2: the kernel resolves the path."""

    mechanism = staticmethod(by_openat2)
    if best_mechanism() is not by_openat2:
        skip = "openat2 is not available here"


class WalkTests(_Mechanism, SynchronousTestCase):
    """Opening with one ``openat`` per segment."""

    mechanism = staticmethod(by_walk)


class OpenAt2WithoutProcTests(OpenAt2Tests):
    """Opening with openat2 where there is no ``/proc``."""

    reopen = False


class WalkWithoutProcTests(WalkTests):
    """Opening with one ``openat`` per segment where there is no ``/proc``."""

    reopen = False


_NAMES = st.sampled_from([b"a", b"b", b"c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map(b"/".join)
_TARGETS = st.sampled_from([b"a", b"b", b"../a", b"..", b".", b"/", b"a/b", b"none"])
_ENTRIES = st.one_of(st.just(b"content"), st.sampled_from(Kind), _TARGETS.map(Symlink))


def consistent(entries: Sequence[tuple[bytes, bytes | Kind | Symlink]]) -> Tree:
    """:return: those of *entries* that can be made together, none of them through a symlink."""
    tree: dict[bytes, bytes | Kind | Symlink] = {}
    directories: set[bytes] = set()
    for path, entry in entries:
        segments = path.split(b"/")
        above = {b"/".join(segments[:n]) for n in range(1, len(segments))}
        if path not in tree and path not in directories and not above & tree.keys():
            tree[path] = entry
            directories |= above
    return tree


class AgreementTests(SynchronousTestCase):
    """The two mechanisms on generated trees."""

    if best_mechanism() is not by_openat2:
        skip = "openat2 is not available here"

    @settings(max_examples=60)
    @given(st.lists(st.tuples(_PATHS, _ENTRIES), max_size=8), st.lists(_PATHS, max_size=12))
    def test_same_verdict(
        self, entries: list[tuple[bytes, bytes | Kind | Symlink]], paths: list[bytes]
    ) -> None:
        """A kernel without openat2 gives the same results as one with it."""
        top = scratch(self)
        tree = consistent(entries)
        build(top, tree)
        root = os.open(top, os.O_PATH | os.O_DIRECTORY)
        try:
            for path in (*paths, *tree, *(path + b"/a" for path in tree)):
                verdict = read_beneath(root, path, by_openat2)
                self.assertEqual(read_beneath(root, path, by_walk), verdict, path)
        finally:
            os.close(root)


class FormTests(SynchronousTestCase):
    """What is refused before the kernel is asked."""

    def untouched(self, root_fd: int, segments: Sequence[bytes], flags: int) -> int:
        raise AssertionError("the kernel was asked")

    def test_segments(self) -> None:
        """
        A segment that is not a name is refused before the kernel is asked, which can climb out of
        the root with it.
        """
        for segment in (b"", b".", b"..", b"a/b", b"/", b"a\0b"):
            for segments in ([segment], [b"a", segment], [segment, b"a"]):
                with self.assertRaises(InvalidPath):
                    open_beneath(-1, segments, os.O_RDONLY, mechanism=self.untouched)

    def test_root_itself(self) -> None:
        """The root itself is not a regular file."""
        with self.assertRaises(NotARegularFile):
            open_beneath(-1, [], os.O_RDONLY, mechanism=self.untouched)

    def test_too_long(self) -> None:
        """A path that is too long for openat2 is not found by the walk either."""
        longest = [b"d" * 255] * 16
        with self.assertRaises(NotFound):
            open_beneath(-1, [*longest, b"d"], os.O_RDONLY, mechanism=self.untouched)
        with self.assertRaises(AssertionError):
            open_beneath(-1, longest, os.O_RDONLY, mechanism=self.untouched)

    def test_writing(self) -> None:
        """`open_beneath` opens for reading: flags that write, create or truncate are refused."""
        for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE):
            with self.assertRaises(ValueError):
                open_beneath(-1, [b"f"], flag, mechanism=self.untouched)


class RefusalTests(SynchronousTestCase):
    """`refusal`: what an error of the kernel means for the client."""

    def test_table(self) -> None:
        """A failure of this machine is distinguished from a fault of the request."""
        table: dict[type[ChatfilesError], str] = {
            NotFound: "ENOENT ENOTDIR ENAMETOOLONG EILSEQ EINVAL",
            NotARegularFile: "ELOOP EXDEV ENXIO ENODEV EISDIR",
            Forbidden: "EACCES EPERM",
            Unavailable: "EMFILE ENFILE ENOMEM EAGAIN",
            ReadFailed: "EIO ESTALE EOVERFLOW ENOTCONN ETIMEDOUT",
        }
        for expected, names in table.items():
            for name in names.split():
                error = refusal(OSError(getattr(errno, name), name))
                self.assertIs(type(error), expected, name)
        self.assertEqual(refusal(OSError(errno.EMFILE, "")).retry_after, 1)
        self.assertIs(type(refusal(OSError("no number"))), ReadFailed)

    def test_cause_is_kept(self) -> None:
        """The refusal keeps its cause, so that the log shows why a file could not be opened."""

        def broken(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
            raise OSError(errno.EIO, "I/O error")

        with self.assertRaises(ReadFailed) as caught:
            open_beneath(-1, [b"f"], os.O_RDONLY, mechanism=broken)
        self.assertIsInstance(caught.exception.__cause__, OSError)


class ChoiceTests(SynchronousTestCase):
    """The choice of the mechanism."""

    def setUp(self) -> None:
        best_mechanism.cache_clear()
        self.addCleanup(best_mechanism.cache_clear)
        self.top = scratch(self)
        build(self.top, {b"f": b"f"})
        self.root = os.open(self.top, os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, self.root)

    def say(self, *codes: int) -> list[int]:
        """
        Let the system call fail with *codes*, one after the other, and from then on with the last.
        """
        asked: list[int] = []

        def syscall(*_: object) -> int:
            code = codes[min(len(asked), len(codes) - 1)]
            asked.append(code)
            ctypes.set_errno(code)
            return -1

        self.patch(openat2, "_syscall", syscall)
        return asked

    def test_not_available(self) -> None:
        """Where the kernel or a filter does not permit openat2, files are opened by the walk."""
        for code in (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.E2BIG, errno.EINVAL):
            best_mechanism.cache_clear()
            asked = self.say(code)
            self.assertIs(best_mechanism(), by_walk)
            fd, _ = open_regular(self.root, [b"f"])
            os.close(fd)
            self.assertEqual(len(asked), 1)  # asked once in a process

    def test_passing_trouble(self) -> None:
        """Running out of descriptors at the first request does not settle the choice."""
        with self.assertRaises(Unavailable):
            self.say(errno.EMFILE)
            open_regular(self.root, [b"f"])
        self.say(errno.ENOSYS)
        self.assertIs(best_mechanism(), by_walk)

    def test_passing_trouble_with_the_cache(self) -> None:
        """Running out of descriptors does not settle whether the kernel opens from its cache."""
        cache_answers.cache_clear()
        self.addCleanup(cache_answers.cache_clear)
        if best_mechanism() is not by_openat2:
            raise SkipTest("openat2 is not available here")
        real = openat2._syscall
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            self.say(code)
            self.assertRaises(OSError, cache_answers)
        self.say(errno.EINVAL)
        self.assertFalse(cache_answers())
        self.patch(openat2, "_syscall", real)
        self.assertFalse(cache_answers())  # asked once in a process

    def test_interrupted(self) -> None:
        """A system call that a signal interrupts is repeated."""
        asked = self.say(errno.EINTR, errno.EINTR, errno.ENOENT)
        with self.assertRaises(NotFound):
            open_beneath(self.root, [b"f"], os.O_RDONLY, mechanism=by_openat2)
        self.assertEqual(len(asked), 3)

    def test_restless(self) -> None:
        """
        In a tree that is always being renamed, openat2 is tried `RACES` times; then the walk is
        used.
        """
        asked = self.say(errno.EAGAIN)
        fd = open_beneath(self.root, [b"f"], os.O_RDONLY, mechanism=by_openat2)
        os.close(fd)
        self.assertEqual(len(asked), openat2.RACES)

    def test_without_proc(self) -> None:
        """Without ``/proc``, files are served all the same."""
        module._reopens.cache_clear()
        self.addCleanup(module._reopens.cache_clear)
        self.assertTrue(module._reopens())
        for elsewhere in (b"/no/proc", self.top + b"/f/proc", self.top):
            module._reopens.cache_clear()
            self.patch(module, "_proc_path", lambda handle, there=elsewhere: there)
            self.assertFalse(module._reopens())
            fd, _ = open_regular(self.root, [b"f"])
            os.close(fd)
