"""
docs/behind-nat: workspaces that open no port and connect to their platform.
"""

from __future__ import annotations

import shlex
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.options import Options
from tests.docs import read
from tests.docs.test_systemd_units import unit

ID = "3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d"
UNIT = "chatfiles-workspace.service"


def settings(words: list[str], **environment: str) -> Any:
    options = Options(environment)
    options.parseOptions(words)
    return options.settings


class ExampleTests(SynchronousTestCase):
    """Each example gives the role valid options."""

    def check(self, role: Any) -> None:
        """The role listens on nothing, and connects."""
        self.assertEqual((role.role, role.shared.listen), ("workspace", ()))
        self.assertEqual((role.channel.idle, role.channel.most), (4, 64))
        self.assertTrue(role.platform.startswith("https://"))

    def test_systemd(self) -> None:
        """The unit differs from that of a workspace with a port only in what it has to."""
        lines = [
            [line for line in read("docs", *path, UNIT).splitlines() if not line.startswith("#")]
            for path in (("systemd",), ("behind-nat",))
        ]
        usual, own = map(set, lines)
        removed = {
            "After=network-online.target chatfiles-workspace.socket",
            "Requires=chatfiles-workspace.socket",
            r"    --listen=systemd:domain=INET:index=0 " + "\\",
        }
        added = {"After=network-online.target", r"    --channel --listen=none " + "\\"}
        self.assertEqual((usual - own, own - usual), (removed, added))
        command = unit(UNIT, "behind-nat")["Service"]["ExecStart"]
        words = shlex.split(command.replace("${STATE_DIRECTORY}", "/var/lib/x"))
        self.check(
            settings(
                words[words.index("chatfiles") + 1 :],
                CHATFILES_PLATFORM="https://files.example.org",
                CHATFILES_WORKSPACE_ID=ID,
            )
        )

    def test_compose(self) -> None:
        """The container has no port."""
        service = yaml.safe_load(read("docs", "behind-nat", "compose.yaml"))["services"][
            "workspace"
        ]
        values = {
            "${CHATFILES_URL:-https://files.example.com}": "https://h",
            "${WORKSPACE_ID:-}": ID,
        }
        words = service["command"]
        for variable, value in values.items():
            words = [word.replace(variable, value) for word in words]
        self.check(settings(words))
        self.assertNotIn("ports", service)

    def test_kubernetes(self) -> None:
        """No port, no service, and a policy that lets nobody connect."""
        parts = list(yaml.safe_load_all(read("docs", "behind-nat", "kubernetes.yaml")))
        deployment, policy = parts
        pod = deployment["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        self.check(settings(container["args"]))
        self.assertNotIn("ports", container)
        self.assertEqual((policy["kind"], policy["spec"]["ingress"]), ("NetworkPolicy", []))
        self.assertEqual(policy["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"])
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        self.assertLessEqual(mounted, {volume["name"] for volume in pod["spec"]["volumes"]})
