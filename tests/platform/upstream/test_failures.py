"""
What clients and operators learn about a connection that failed.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import UpstreamFailed
from chatfiles.platform.upstream.connection import NoResponse
from chatfiles.platform.upstream.failures import connect_error, request_error
from chatfiles.runtime.tls.peers import CertificateRefused
from tests.platform.upstream.upstream_case import UpstreamTestCase

ALERT = SSL.Error([("SSL routines", "", "tlsv13 alert certificate required")])


class CertificateTests(SynchronousTestCase):
    """The log says what is wrong with a certificate, and clients do not learn it."""

    def assert_reason(self, failure: Failure, detail: str, reason: str) -> None:
        """*failure* says *detail* to the client, and *reason* to the log."""
        error = failure.value
        assert isinstance(error, UpstreamFailed)
        self.assertEqual((error.text, error.detail), ("workspace unreachable", detail))
        self.assertEqual(error.reason, reason)

    def test_connect(self) -> None:
        """A certificate that is not accepted, an alert, and what has nothing to do with TLS."""
        secure = "no secure connection could be made"
        for error, detail, reason in (
            (CertificateRefused("has expired"), secure, "certificate has expired"),
            (ALERT, secure, "TLS: tlsv13 alert certificate required"),
            (SSL.Error([]), secure, ""),
            (SSL.Error(), secure, ""),
            (OSError(), "no connection could be made", ""),
        ):
            self.assert_reason(connect_error(Failure(error)), detail, reason)

    def test_request(self) -> None:
        """With TLS 1.3 a workspace refuses the platform's certificate after the handshake."""
        detail = "the connection was lost before a response came"
        for cause, reason in ((ALERT, "TLS: tlsv13 alert certificate required"), (None, "")):
            lost = NoResponse()
            lost.__cause__ = cause
            self.assert_reason(request_error(Failure(lost)), detail, reason)


class LostTests(UpstreamTestCase):
    """A connection that ends with an alert."""

    def test_reason(self) -> None:
        """The alert is the reason why there is no response."""
        result = self.ask()
        self.wire.lose(ALERT)
        error = self.failed(result, "workspace_unreachable")
        self.assertEqual(error.reason, "TLS: tlsv13 alert certificate required")
