"""The examples of running several nodes are consistent, and valid for the program."""

from __future__ import annotations

import ipaddress
import os
import re

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.address_policy import parse_networks
from chatfiles.rules.x_forwarded_for import TrustedProxies
from chatfiles.runtime.options import Options
from chatfiles.runtime.settings import PlatformSettings
from tests.docs.several_nodes_examples import Container, compose, containers, kubernetes, text_of
from tests.live.balancer import EXAMPLES


def settings(container: Container) -> PlatformSettings:
    """:return: the settings that the role reads from its options."""
    options = Options({})
    options.parseOptions(container.options)
    assert isinstance(options.settings, PlatformSettings)
    return options.settings


def number(pattern: str, text: str) -> float:
    """:return: the one number, in seconds, that the pattern matches."""
    [found] = re.findall(pattern, text, re.MULTILINE)
    return float(found)


class PlatformTests(SynchronousTestCase):
    """The platforms of the compose file and of the manifest."""

    def test_options(self) -> None:
        """The options of each example are valid."""
        for container in containers():
            told = settings(container)
            self.assertEqual(told.shared.listen, ("tcp:8080",))
            self.assertTrue(TrustedProxies.parse(told.trusted_proxy).networks)
            self.assertTrue(parse_networks(told.upstream_allow))
            self.assertGreater(told.drain_delay, 0)

    def test_time_to_stop(self) -> None:
        """Running transfers have time to end before the process is killed."""
        for container in containers():
            told = settings(container)
            least = told.drain_delay + told.shared.drain_timeout + 5
            self.assertGreaterEqual(container.grace, least, container.example)

    def test_secrets(self) -> None:
        """
        No secret is in a command line or in the example itself, and every file with a secret
        exists.
        """
        for container in containers():
            told = settings(container)
            self.assertRegex(told.database, r"\Apostgresql://[^:@/]+@[^@]+\Z")
            named = set(re.findall(r"/run/secrets/[^\"\s)]+", " ".join(container.launch)))
            self.assertEqual(named, container.secrets)
            self.assertIn(told.admin_token_file, named)
        for text in (text_of("compose.yaml"), text_of("kubernetes.yaml")):
            self.assertNotRegex(text, r"(?i)(password|token)\s*[:=]\s*[A-Za-z0-9]{6,}$")

    def test_confined(self) -> None:
        """
        A platform has no rights that it does not need, and can write to the directories that it
        needs.
        """
        path = os.path.join(EXAMPLES, "..", "containers", "Containerfile")
        with open(path) as file:
            [user] = re.findall(r"^USER (\S+)$", file.read(), re.MULTILINE)
        for container in containers():
            self.assertTrue(container.confined, container.example)
            self.assertEqual(container.user, user)
            self.assertEqual(container.writable, {"/tmp", settings(container).state_dir})

    def test_probes(self) -> None:
        """The probes request ``/ready`` and ``/health``, each for its own purpose."""
        [container] = kubernetes()["Deployment"]["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["ports"], [{"name": "http", "containerPort": 8080}])
        for probe, path in (("readinessProbe", "/ready"), ("livenessProbe", "/health")):
            self.assertEqual(container[probe]["httpGet"], {"path": path, "port": "http"})
        for name in ("platform-1", "platform-2"):
            self.assertIn(":8080/ready", str(compose()["services"][name]["healthcheck"]))

    def test_one_label(self) -> None:
        """The Service and the policies select the Deployment's pods."""
        objects = kubernetes()
        labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(objects["Service"]["spec"]["selector"], labels)
        for kind, key in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
            self.assertEqual(objects[kind]["spec"][key], {"matchLabels": labels})
        namespaces = {each["metadata"]["namespace"] for each in objects.values()}
        self.assertEqual(namespaces, {"chatfiles"})

    def test_addresses(self) -> None:
        """
        The platforms trust the balancer's address, and the balancer knows the platforms' names.
        """
        whole = compose()
        [subnet] = whole["networks"]["files"]["ipam"]["config"]
        network = ipaddress.ip_network(subnet["subnet"])
        fixed = {
            name: service["networks"]["files"]["ipv4_address"]
            for name, service in whole["services"].items()
            if isinstance(service["networks"], dict)
        }
        self.assertTrue(all(ipaddress.ip_address(each) in network for each in fixed.values()))
        nodes = set(re.findall(r"^    server (\S+) \1:8080$", text_of("haproxy.cfg"), re.MULTILINE))
        self.assertEqual(nodes, {"platform-1", "platform-2"})
        self.assertEqual(set(fixed), nodes | {"balancer"})
        for container in containers():
            if container.example == "compose.yaml":
                told = settings(container)
                self.assertEqual(told.trusted_proxy, (fixed["balancer"],))
                self.assertIn(network, parse_networks(told.upstream_allow))


class TimeTests(SynchronousTestCase):
    """The balancers' timeouts, compared with the platform's defaults."""

    def setUp(self) -> None:
        options = Options({})
        options.parseOptions(["--role=platform"])
        self.told = options.settings.shared
        #: The longest time until a platform sends the headers of a response.
        self.answer = self.told.connect_timeout + self.told.header_timeout

    def test_nginx(self) -> None:
        """
        nginx's timeouts are longer than the platform's, so that nginx does not respond in its
        place.
        """
        text = text_of("nginx.conf")
        for name in ("proxy_read_timeout", "proxy_send_timeout", "client_body_timeout"):
            seconds = number(rf"^ *{name} (\d+)s;", text)
            self.assertGreater(seconds, max(self.told.idle_timeout, self.answer), name)
        self.assertGreater(number(r"^ *send_timeout (\d+)s;", text), self.told.idle_timeout)
        self.assertLess(number(r"^    keepalive_timeout (\d+)s;", text), self.told.idle_timeout)

    def test_error_lines_of_links(self) -> None:
        """nginx writes no line that holds a signed link, however severe the error is."""
        [links] = re.findall(r"location /links/ \{(.*?)\n    \}", text_of("nginx.conf"), re.DOTALL)
        self.assertEqual(re.findall(r"^ +error_log \S+ (\w+);", links, re.MULTILINE), ["emerg"])

    def test_haproxy(self) -> None:
        """
        HAProxy's timeouts are longer than the platform's, and it stops sending requests to a
        draining node before that refuses them.
        """
        text = text_of("haproxy.cfg")
        seconds = number(r"^    timeout server (\d+)s$", text)
        self.assertGreater(seconds, max(self.told.idle_timeout, self.answer))
        self.assertGreater(number(r"^    timeout client (\d+)s$", text), self.told.idle_timeout)
        noticed = number(r" inter (\d+)s ", text) * number(r" fall (\d+) ", text)
        for container in containers():
            self.assertGreater(settings(container).drain_delay, noticed)
