"""
When certificates expire, for the metrics.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.certificates import expiry, tls_names
from tests.support.certificates import write_certificates


class CertificateTests(SynchronousTestCase):
    """Endpoint strings of listeners."""

    def test_names(self) -> None:
        """Listeners with a certificate have their type and port as name."""
        given = ["tcp:8080", "ssl:8443:privateKey=a", "chatfiles-tls:443:certificate=b", "unix:/a"]
        names = tls_names(given)
        self.assertEqual(names, {"ssl:8443": given[1], "chatfiles-tls:443": given[2]})

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
