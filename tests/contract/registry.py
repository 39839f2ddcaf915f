"""
The contract of `IWorkspaceRegistry`, as test cases to mix into a `TestCase`.
"""

from __future__ import annotations

from tests.contract.registry_changes import ChangesContract
from tests.contract.registry_channels import ChannelsContract
from tests.contract.registry_claims import ClaimsContract
from tests.contract.registry_links import LinksContract
from tests.contract.registry_secrets import SecretsContract
from tests.contract.registry_tokens import TokensContract
from tests.contract.registry_whole import WholeContract
from tests.contract.registry_workspaces import WorkspacesContract

__all__ = ["RegistryContract"]


class RegistryContract(
    WholeContract,
    WorkspacesContract,
    SecretsContract,
    TokensContract,
    ClaimsContract,
    LinksContract,
    ChannelsContract,
    ChangesContract,
):
    """
    The whole contract. It needs nothing but the interface and the hooks of
    `tests.contract.registry_case.RegistryCase`; for a registry whose rows are stored, see
    `tests.contract.registry_stored`.
    """
