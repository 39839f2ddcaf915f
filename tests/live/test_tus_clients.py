"""
Clients of tus that others have written, and ``chatfiles put``, upload through nginx and HAProxy,
with the configurations that the documentation shows.
"""

from __future__ import annotations

from tests.live import tus_clients


class NginxTests(tus_clients.Cases):
    """Through nginx."""

    kind = "nginx"


class HAProxyTests(tus_clients.Cases):
    """Through HAProxy."""

    kind = "haproxy"
