"""
The certificates of a listener, by the names that they serve.
"""

from __future__ import annotations

import os
from typing import Any

from chatfiles.rules.server_names import DEFAULT
from chatfiles.runtime.tls.certificate_store import CertificateStore
from chatfiles.runtime.tls.files import BadFile
from tests.runtime.tls.test_files import FileCase
from tests.support.certificates import Issued, root_authority

ROOT = root_authority()
KEPT = "what was read before stays in use"


class StoreCase(FileCase):
    """A store, and what it reports."""

    def setUp(self) -> None:
        super().setUp()
        self.reports: list[str] = []

    def at(self, name: str) -> str:
        """:return: a path in the directory."""
        return os.path.join(self.base, name)

    def store(self, certificate: str, key: str = "") -> CertificateStore:
        """:return: the store."""
        return CertificateStore(certificate, key, self.reports.append)

    def issue(self, name: str) -> Issued:
        """:return: a new certificate, which is in NAME.pem and NAME.key now."""
        issued = ROOT.issue(name.replace("_", "*"))
        issued.write(self.at(name))
        return issued

    def served(self, store: CertificateStore) -> dict[str, Any]:
        """:return: the certificates by name."""
        return {name: each.chain[0] for name, each in store.identities().items()}


class FileTests(StoreCase):
    """One certificate."""

    def test_renewed(self) -> None:
        """A renewed certificate is used when its key is there."""
        old = self.issue("a")
        store = self.store(self.at("a.pem"), self.at("a.key"))
        self.assertEqual(self.served(store), {DEFAULT: old.certificate})
        self.assertFalse(store.look())
        new = ROOT.issue("a")
        self.write("a.pem", new.pem)
        self.assertFalse(store.look())
        self.assertEqual(self.served(store), {DEFAULT: old.certificate})
        [report] = self.reports
        self.assertIn(f"{self.at('a.key')}: the key does not belong to", report)
        self.write("a.key", new.key)
        self.assertTrue(store.look())
        self.assertEqual(self.served(store), {DEFAULT: new.certificate})

    def test_one_file(self) -> None:
        """Without ``key=``, the file holds both."""
        leaf = ROOT.issue("a")
        path = self.write("both.pem", leaf.pem + leaf.key)
        os.chmod(path, 0o600)
        self.assertEqual(self.served(self.store(path)), {DEFAULT: leaf.certificate})
        self.assertEqual(self.reports, [])

    def test_exposed(self) -> None:
        """A key that any user can read is reported once, and again when it is so again."""
        self.issue("a")
        os.chmod(self.at("a.key"), 0o644)
        store = self.store(self.at("a.pem"), self.at("a.key"))
        text = f"the key in {self.at('a.key')} may be read or written by any user; use chmod o-rw"
        self.assertEqual(self.reports, [text])
        store.look()
        self.issue("a")  # with mode 0600
        self.assertTrue(store.look())
        self.assertEqual(self.reports, [text])
        self.issue("a")
        os.chmod(self.at("a.key"), 0o644)
        self.assertTrue(store.look())
        self.assertEqual(self.reports, [text, text])

    def test_refused(self) -> None:
        """Without a valid certificate there is no store."""
        self.issue("a")
        for certificate, key in (("a.pem", "none"), ("none", "a.key"), ("a.key", "a.key")):
            self.assertRaises(BadFile, self.store, self.at(certificate), self.at(key))


class DirectoryTests(StoreCase):
    """A directory of certificates."""

    def test_names(self) -> None:
        """Each pair serves its name, in lower case; other files are nothing."""
        made = {name: self.issue(name).certificate for name in ("default", "A.Test", "_.a.test")}
        self.write(".hidden.pem")
        self.write("README")
        served = {name.lower(): certificate for name, certificate in made.items()}
        self.assertEqual(self.served(self.store(self.base)), served)

    def test_changes(self) -> None:
        """Certificates come, are renewed and go; the others stay."""
        one = self.issue("one.test").certificate
        store = self.store(self.base)
        two = self.issue("two.test").certificate
        self.assertTrue(store.look())
        self.assertEqual(self.served(store), {"one.test": one, "two.test": two})
        two = self.issue("two.test").certificate
        self.assertTrue(store.look())
        self.assertEqual(self.served(store), {"one.test": one, "two.test": two})
        os.unlink(self.at("two.test.pem"))
        os.unlink(self.at("two.test.key"))
        self.assertTrue(store.look())
        self.assertEqual(self.served(store), {"one.test": one})
        self.assertFalse(store.look())
        self.assertEqual(self.reports, [])

    def test_one_is_bad(self) -> None:
        """A pair that is not valid is reported once, and the others are renewed all the same."""
        one = self.issue("one.test").certificate
        self.issue("two.test")
        store = self.store(self.base)
        self.write("one.test.pem", b"not a certificate")
        self.write("three.test.pem", ROOT.issue("three.test").pem)
        two = self.issue("two.test").certificate
        self.assertTrue(store.look())
        self.assertFalse(store.look())
        self.assertEqual(self.served(store), {"one.test": one, "two.test": two})
        pem, key = self.at("one.test.pem"), self.at("three.test.key")
        self.assertEqual(
            self.reports,
            [
                f"{pem}: does not hold certificates in PEM format; {KEPT}",
                f"{key}: No such file or directory; not used",
            ],
        )

    def test_half_removed(self) -> None:
        """A certificate goes when both of its files are gone; until then it stays."""
        one = self.issue("one.test").certificate
        store = self.store(self.base)
        os.unlink(self.at("one.test.pem"))
        self.assertFalse(store.look())
        self.assertEqual(self.served(store), {"one.test": one})

    def test_lost(self) -> None:
        """A directory that is lost, or that has no certificates any more, changes nothing."""
        one = self.issue("one.test").certificate
        store = self.store(self.base)
        os.rename(self.base, self.base + "-moved")
        for _ in range(2):
            self.assertFalse(store.look())
        os.mkdir(self.base)
        for _ in range(2):
            self.assertFalse(store.look())
        self.assertEqual(self.served(store), {"one.test": one})
        first, second = [each for each in self.reports if each.startswith(f"{self.base}: ")]
        self.assertEqual(first, f"{self.base}: No such file or directory; {KEPT}")
        self.assertEqual(second, f"{self.base}: it has no NAME.pem with NAME.key; {KEPT}")
        one = self.issue("one.test").certificate
        self.assertTrue(store.look())
        self.assertEqual(self.served(store), {"one.test": one})

    def test_last(self) -> None:
        """The last certificate stays until another one is valid."""
        one = self.issue("one.test").certificate
        store = self.store(self.base)
        for end in (".pem", ".key"):
            os.rename(self.at(f"one.test{end}"), self.at(f"two.test{end}"))
        self.write("two.test.pem", b"half")
        for _ in range(2):
            self.assertFalse(store.look())
            self.assertEqual(self.served(store), {"one.test": one})
        [report] = self.reports
        self.assertIn(self.at("two.test.pem"), report)
        two = self.issue("two.test").certificate
        self.assertTrue(store.look())
        self.assertEqual(self.served(store), {"two.test": two})

    def test_refused(self) -> None:
        """At the start, each pair has to be valid, and there has to be one."""
        error = self.assertRaises(BadFile, self.store, self.base)
        self.assertIn("it has no NAME.pem with NAME.key", str(error))
        self.issue("one.test")
        self.write("two.test.pem", ROOT.issue("two.test").pem)
        error = self.assertRaises(BadFile, self.store, self.base)
        self.assertIn(self.at("two.test.key"), str(error))
