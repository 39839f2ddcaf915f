"""
The certificates of one listener, by the names that they serve.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from chatfiles.rules.server_names import DEFAULT
from chatfiles.runtime.tls.files import KEPT, BadFile, LoadedFiles, Report
from chatfiles.runtime.tls.identity import Identity, read_identity

__all__ = ["CertificateStore"]

_CERTIFICATE, _KEY = ".pem", ".key"


class CertificateStore:
    """
    One certificate, or a directory of certificates.  All methods block.

    :param certificate: a file, whose certificate serves all names; or a directory, in which each
        ``NAME.pem`` with ``NAME.key`` serves NAME (`chatfiles.rules.server_names.find_name`).
    :param key: the file of the key, if *certificate* is a file.
    :param report: takes lines for the operator.
    :raise BadFile: a file is not valid, or the directory has none.
    """

    def __init__(self, certificate: str, key: str, report: Report) -> None:
        self._certificate = certificate
        self._key = key
        self._is_directory = os.path.isdir(certificate)
        self._report = report
        self._problem = ""
        self._warnings: frozenset[str] = frozenset()
        self._files: dict[str, LoadedFiles[Identity]] = {}
        for name, paths in self._paths().items():
            self._files[name] = LoadedFiles(paths, read_identity)
            self._files[name].load()
        self._warn()

    def identities(self) -> Mapping[str, Identity]:
        """:return: the certificates by names in lower case; `DEFAULT` for all other names."""
        loaded = {name: files.value for name, files in self._files.items()}
        return {name: identity for name, identity in loaded.items() if identity is not None}

    @property
    def is_refused(self) -> bool:
        """Whether any file was not valid at the last look."""
        return self._problem != "" or any(each.is_refused for each in self._files.values())

    def look(self) -> bool:
        """
        Look whether there are other files.  Those that are not valid are reported once.

        :return: whether a certificate was added, replaced or removed.
        """
        try:
            paths, problem = self._paths(), ""
        except BadFile as error:
            paths, problem = {name: each.paths for name, each in self._files.items()}, str(error)
        if problem not in ("", self._problem):
            self._report(f"{problem}; {KEPT}")
        self._problem = problem
        before = self._files
        files = {
            name: before.get(name) or LoadedFiles(pair, read_identity)
            for name, pair in paths.items()
        }
        changed = [each.look(self._report) for each in files.values()]
        if not any(each.value for each in files.values()):  # the last ones stay
            files = {**before, **files}
        self._files = files
        self._warn()
        return any(changed) or bool(before.keys() - files.keys())

    def _paths(self) -> Mapping[str, Sequence[str]]:
        """
        :return: name → the paths of the certificate and of the key, one of which may not exist.
        :raise BadFile: the directory cannot be read, or has no certificate.
        """
        directory = self._certificate
        if not self._is_directory:
            return {DEFAULT: [directory, self._key or directory]}
        try:
            found = [os.path.splitext(each) for each in sorted(os.listdir(directory))]
        except OSError as error:
            raise BadFile(directory, os.strerror(error.errno or errno.EIO)) from None
        names = [name for name, end in found if end in (_CERTIFICATE, _KEY) and name[0] != "."]
        if not names:
            raise BadFile(directory, "it has no NAME.pem with NAME.key")
        return {
            name.lower(): [os.path.join(directory, name + end) for end in (_CERTIFICATE, _KEY)]
            for name in names
        }

    def _warn(self) -> None:
        """Report keys that any user can read, once."""
        warnings = frozenset(each.warning for each in self.identities().values()) - {""}
        for warning in sorted(warnings - self._warnings):
            self._report(warning)
        self._warnings = warnings
