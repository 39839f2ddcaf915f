"""
Certificates and keys from files.
"""

from __future__ import annotations

import subprocess

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.tls.files import BadFile, File
from chatfiles.runtime.tls.identity import read_authorities, read_identity
from tests.support.certificates import root_authority

ROOT = root_authority()
LEAF = ROOT.issue("files.test")
OTHER = ROOT.issue("other.test")


OPENSSL = ("openssl", "req", "-x509", "-nodes", "-subj", "/CN=a", "-keyout", "-", "-newkey")


def file(name: str, content: bytes, mode: int = 0o100600) -> File:
    """:return: a file that was read."""
    return File(f"/etc/{name}", content, mode)


class IdentityTests(SynchronousTestCase):
    """`read_identity`."""

    def test_chain(self) -> None:
        """The first certificate is the own one, and the others are sent with it."""
        files = [file("cert", LEAF.pem + ROOT.pem), file("key", LEAF.key)]
        identity = read_identity(files)
        self.assertEqual(list(identity.chain), [LEAF.certificate, ROOT.certificate])
        self.assertEqual(identity.path, "/etc/cert")
        expiry = LEAF.certificate.not_valid_after_utc.timestamp()
        self.assertEqual(identity.not_after, expiry)
        self.assertEqual(identity.exposed, "")

    def test_one_file(self) -> None:
        """One file may hold both, in any order."""
        for content in (LEAF.pem + LEAF.key, LEAF.key + LEAF.pem + ROOT.pem):
            identity = read_identity([file("both", content)])
            self.assertEqual(identity.chain[0], LEAF.certificate)

    def test_exposed(self) -> None:
        """A key that any user can read or write is named; a group may be able to read it."""
        for mode, exposed in ((0o600, ""), (0o640, ""), (0o644, "/etc/key"), (0o602, "/etc/key")):
            files = [file("cert", LEAF.pem, 0o644), file("key", LEAF.key, mode)]
            self.assertEqual(read_identity(files).exposed, exposed, oct(mode))

    def test_refused(self) -> None:
        """An error names the file, and shows nothing of a key."""
        key = load_pem_private_key(LEAF.key, None)
        locked = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
        )
        for certificate, key_file, text in (
            (LEAF.pem, OTHER.key, "/etc/key: the key does not belong to the first certificate in"),
            (ROOT.pem + LEAF.pem, LEAF.key, "/etc/key: the key does not belong to the first"),
            (LEAF.pem[:-40], LEAF.key, "/etc/cert: does not hold certificates in PEM format"),
            (b"", LEAF.key, "/etc/cert: does not hold certificates in PEM format"),
            (LEAF.key, LEAF.key, "/etc/cert: does not hold certificates in PEM format"),
            (LEAF.pem, LEAF.key[:-40], "/etc/key: does not hold a private key in PEM format"),
            (LEAF.pem, b"", "/etc/key: does not hold a private key in PEM format"),
            (LEAF.pem, locked, "/etc/key: the key has a password; keep it without one"),
        ):
            files = [file("cert", certificate), file("key", key_file)]
            error = self.assertRaises(BadFile, read_identity, files)
            self.assertTrue(str(error).startswith(text), error)
            self.assertNotIn("BEGIN", str(error))

    def test_weak_key(self) -> None:
        """A key that OpenSSL does not accept is refused when it is read, not in a handshake."""
        weak = rsa.generate_private_key(65537, 1024)
        leaf = ROOT.issue("weak.test", key=weak)
        files = [file("cert", leaf.pem), file("key", leaf.key)]
        error = self.assertRaises(BadFile, read_identity, files)
        self.assertIn("/etc/cert: ", str(error))
        self.assertIn("key too small", str(error))

    def test_unsupported(self) -> None:
        """A kind of key that is not supported is refused, in the key and in the certificate."""
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224k1"]
        both = subprocess.run(
            ["openssl", "req", "-x509", *curve, "-nodes", "-subj", "/CN=a", "-keyout", "-"],
            capture_output=True,
            check=True,
        ).stdout
        at = both.index(b"-----BEGIN CERT")
        for files, path in (
            ([file("both", both)], "/etc/both"),
            ([file("cert", both[at:]), file("key", LEAF.key)], "/etc/cert"),
        ):
            error = self.assertRaises(BadFile, read_identity, files)
            self.assertEqual(str(error), f"{path}: its kind of key is not supported")

    def test_keys_of_openssl(self) -> None:
        """Keys in the forms of ``openssl`` are read: RSA, EC with its parameters, Ed25519."""
        for words in (["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["ed25519"]):
            made = subprocess.run(
                [*OPENSSL, *words],
                capture_output=True,
                check=True,
            )
            self.assertEqual(len(read_identity([file("both", made.stdout)]).chain), 1, words)


class AuthoritiesTests(SynchronousTestCase):
    """`read_authorities`."""

    def test_several(self) -> None:
        """A file may hold several authorities."""
        found = read_authorities([file("ca", ROOT.pem + root_authority("two").pem)])
        names = [each.getSubject().commonName for each in found]
        self.assertEqual(names, [b"root", b"two"])

    def test_refused(self) -> None:
        """A file without certificates is refused."""
        error = self.assertRaises(BadFile, read_authorities, [file("ca", LEAF.key)])
        self.assertEqual(str(error), "/etc/ca: does not hold certificates in PEM format")
