"""
A place where a file is saved: a name in a directory.

The directory may be an open descriptor.  Then no other process can lead the file elsewhere by
replacing a directory with a symlink, because no path is resolved again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from chatfiles.posix.rename_noreplace import HERE, rename_new

__all__ = ["Place"]

#: Bytes of a name that its temporary name keeps, so that it has at most NAME_MAX (255).
NAME_KEPT = 200

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """
    A place.  Every method may raise `OSError`.

    :param name: a name in the directory; or any path, if there is no descriptor.
    :param label: the path in messages.
    :param directory_fd: a descriptor of the directory, open as long as the place is used.
    """

    name: bytes
    label: str
    directory_fd: int = HERE

    @staticmethod
    def of(path: str) -> Place:
        """:return: the place with this path."""
        return Place(os.fsencode(path), path)

    def beside(self, name: bytes) -> Place:
        """:return: the place with another *name* in the same directory."""
        return Place(
            os.path.join(os.path.dirname(self.name), name),
            os.path.join(os.path.dirname(self.label), os.fsdecode(name)),
            self.directory_fd,
        )

    def make_temporary(self) -> tuple[Place, int]:
        """:return: the place and the descriptor of a new hidden file beside this one, mode 0600."""
        base = b"." + os.path.basename(self.name)[:NAME_KEPT] + b"."
        while True:
            place = self.beside(base + os.urandom(6).hex().encode() + b".part")
            try:
                return place, place.open(_CREATE)
            except FileExistsError:
                continue

    def open(self, flags: int, mode: int = 0o600) -> int:
        """:return: a descriptor of the file."""
        return os.open(self.name, flags, mode, dir_fd=self.directory_fd)

    def status(self) -> os.stat_result:
        """:return: the status of the file, or of the symlink."""
        return os.stat(self.name, dir_fd=self.directory_fd, follow_symlinks=False)

    def exists(self) -> bool:
        """:return: whether there is a file, even a symlink that leads nowhere."""
        try:
            self.status()
        except OSError:
            return False
        return True

    def unlink(self) -> None:
        """Remove the file."""
        os.unlink(self.name, dir_fd=self.directory_fd)

    def link(self, new: Place) -> None:
        """Give the file another name in the same directory, unless that name exists."""
        here, there = self.directory_fd, new.directory_fd
        os.link(self.name, new.name, src_dir_fd=here, dst_dir_fd=there)

    def rename(self, new: Place) -> None:
        """Rename the file in the same directory.  It replaces a file of the new name."""
        here, there = self.directory_fd, new.directory_fd
        os.replace(self.name, new.name, src_dir_fd=here, dst_dir_fd=there)

    def rename_new(self, new: Place) -> bool:
        """As `rename`, but it replaces nothing; see `chatfiles.posix.rename_noreplace`."""
        return rename_new(self.name, new.name, self.directory_fd)
