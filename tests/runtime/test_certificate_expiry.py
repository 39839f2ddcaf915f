"""
When certificates expire, for the metrics.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.certificate_expiry import expiry, first_expiry, tls_names
from tests.support.certificates import write_certificates


class CertificateTests(SynchronousTestCase):
    """Endpoint strings of listeners."""

    def test_names(self) -> None:
        """Listeners with a certificate have their type and port as name, which may be the same."""
        given = [
            "tcp:8080",
            "ssl:8443:privateKey=a",
            "chatfiles-tls:443:certificate=b",
            "unix:/a",
            "chatfiles-tls:443:certificate=b:interface=\\:\\:1",
        ]
        names = tls_names(given)
        self.assertEqual(names, {"ssl:8443": [given[1]], "chatfiles-tls:443": [given[2], given[4]]})

    def test_first(self) -> None:
        """Of several listeners it is the first end that is known, of renewed certificates too."""
        ends = {"a": 7.0, "b": 5.0}
        renewed = {name: partial(ends.__getitem__, name) for name in ends}
        first = first_expiry(["a", "b", "ssl:0:certKey=/no/such"], renewed)
        assert first is not None
        self.assertEqual(first(), 5)
        ends["b"] = 9
        self.assertEqual(first(), 7)
        self.assertIsNone(first_expiry(["ssl:0:certKey=/no/such"], {}))

    def test_expiry(self) -> None:
        """The certificate is in one file or in two; an unreadable one is unknown."""
        base = tempfile.mkdtemp(suffix=":x")
        self.addCleanup(shutil.rmtree, base)
        write_certificates(base)
        escaped = base.replace(":", "\\:")
        with open(os.path.join(base, "both.pem"), "w") as both:
            for name in ("key.pem", "cert.pem"):
                with open(os.path.join(base, name)) as file:
                    both.write(file.read())
        two = expiry(f"ssl:0:privateKey={escaped}/key.pem:certKey={escaped}/cert.pem")
        one = expiry(f"ssl:0:interface=127.0.0.1:privateKey={escaped}/both.pem")
        assert one is not None
        self.assertEqual(one, two)
        self.assertTrue(abs(one - time.time()) < 400 * 86400)
        for text in (f"ssl:0:privateKey={escaped}/key.pem", "ssl:0:certKey=/no/such", "tcp:0"):
            self.assertIsNone(expiry(text), text)
