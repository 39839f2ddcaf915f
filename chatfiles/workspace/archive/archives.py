"""
What all archives of a workspace share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chatfiles.runtime.slots import Slots
from chatfiles.workspace.archive.plan import Limits

__all__ = ["Archives"]


@dataclass(frozen=True, slots=True)
class Archives:
    """
    The rules of the operator.

    :param limits: what one archive may contain.
    :param slots: one for each archive that is counted or sent.
    :param workspace: the id of the workspace for manifests; ``None`` if it has none.
    """

    limits: Limits = field(default_factory=Limits)
    slots: Slots = field(default_factory=lambda: Slots(4))
    workspace: str | None = None
