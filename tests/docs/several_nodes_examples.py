"""The examples of running several nodes, parsed as programs read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.live.balancer import EXAMPLES

__all__ = ["Container", "compose", "containers", "kubernetes", "text_of"]


@dataclass(frozen=True)
class Container:
    """
    A platform as an example runs it.

    :param launch: the whole command line.
    :param grace: seconds between SIGTERM and SIGKILL.
    :param secrets: the files with secrets that it can read.
    :param writable: the directories that it can write to.
    """

    example: str
    launch: list[str]
    grace: float
    secrets: frozenset[str]
    writable: frozenset[str]
    user: str
    confined: bool

    @property
    def options(self) -> list[str]:
        """The options of the role."""
        return [word for word in self.launch if word.startswith("--")]


def text_of(name: str) -> str:
    """:return: the text of an example."""
    with open(os.path.join(EXAMPLES, name)) as file:
        return file.read()


def compose() -> Any:
    """:return: the compose file."""
    return yaml.safe_load(text_of("compose.yaml"))


def kubernetes() -> dict[str, Any]:
    """:return: the objects of the manifest, by their kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(text_of("kubernetes.yaml"))}


def containers() -> Iterator[Container]:
    """Yield every platform of the examples."""
    whole = compose()
    for name in ("platform-1", "platform-2"):
        yield _composed(whole["services"][name])
    yield _deployed(kubernetes()["Deployment"]["spec"]["template"]["spec"])


def _composed(service: Mapping[str, Any]) -> Container:
    words = [*service["entrypoint"], *service["command"]]
    return Container(
        example="compose.yaml",
        launch=[word.replace("$$", "$") for word in words],
        grace=float(service["stop_grace_period"].removesuffix("s")),
        secrets=frozenset(f"/run/secrets/{name}" for name in service["secrets"]),
        writable=frozenset(each.partition(":")[0] for each in service["tmpfs"]),
        user=service["user"],
        confined=service["read_only"]
        and service["cap_drop"] == ["ALL"]
        and service["security_opt"] == ["no-new-privileges:true"],
    )


def _deployed(pod: Mapping[str, Any]) -> Container:
    [container] = pod["containers"]
    words = [*container["command"], *container["args"]]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
    [secret] = [path for path, volume in mounts.items() if "secret" in volume]
    made = re.findall(r"--from-file=(\S+)", text_of("kubernetes.yaml"))
    context, outer = container["securityContext"], pod["securityContext"]
    return Container(
        example="kubernetes.yaml",
        launch=[word.replace("$$", "$") for word in words],
        grace=float(pod["terminationGracePeriodSeconds"]),
        secrets=frozenset(f"{secret}/{name}" for name in made),
        writable=frozenset(path for path, volume in mounts.items() if "emptyDir" in volume),
        user=f"{outer['runAsUser']}:{outer['runAsGroup']}",
        confined=context["readOnlyRootFilesystem"]
        and context["capabilities"] == {"drop": ["ALL"]}
        and context["allowPrivilegeEscalation"] is False
        and outer["runAsNonRoot"],
    )
