"""
reference/downloads, "One version" with nginx or HAProxy before the platform: what holds for a
caller of the platform holds for one of the balancer, with the configuration that the documentation
shows.
"""

from __future__ import annotations

from tests.live import balanced


class NginxRangeTests(balanced.Ranges):
    """What is asked, through nginx."""

    kind = "nginx"


class NginxContentTests(balanced.Contents):
    """What is sent, through nginx."""

    kind = "nginx"


class NginxPaceTests(balanced.Paces):
    """How it is taken, through nginx."""

    kind = "nginx"


class HAProxyRangeTests(balanced.Ranges):
    """What is asked, through HAProxy."""

    kind = "haproxy"


class HAProxyContentTests(balanced.Contents):
    """What is sent, through HAProxy."""

    kind = "haproxy"


class HAProxyPaceTests(balanced.Paces):
    """How it is taken, through HAProxy."""

    kind = "haproxy"
