"""
reference/downloads, "One version" with nginx or HAProxy before the platform: clients get the same
responses from the balancer as from the platform, with the configuration that the documentation
shows; uploads are not buffered.
"""

from __future__ import annotations

from tests.live import balanced


class NginxRangeTests(balanced.Ranges):
    """Range requests through nginx."""

    kind = "nginx"


class NginxRequestIdTests(balanced.RequestIds):
    """Request ids in the log of nginx."""

    kind = "nginx"


class NginxContentTests(balanced.Contents):
    """Files of all kinds through nginx."""

    kind = "nginx"


class NginxPaceTests(balanced.Paces):
    """Fast and slow clients through nginx."""

    kind = "nginx"


class HAProxyRangeTests(balanced.Ranges):
    """Range requests through HAProxy."""

    kind = "haproxy"


class HAProxyRequestIdTests(balanced.RequestIds):
    """Request ids in the log of HAProxy."""

    kind = "haproxy"


class HAProxyContentTests(balanced.Contents):
    """Files of all kinds through HAProxy."""

    kind = "haproxy"


class HAProxyPaceTests(balanced.Paces):
    """Fast and slow clients through HAProxy."""

    kind = "haproxy"


class NginxUploadTests(balanced.Uploads):
    """Uploads through nginx."""

    kind = "nginx"


class HAProxyUploadTests(balanced.Uploads):
    """Uploads through HAProxy."""

    kind = "haproxy"
