"""
fsspec's own tests of file systems, for pytest: those that read, and those that write files as a
whole.  `tests.live.test_client` runs them, with the settings in the environment.
"""

from __future__ import annotations

import os
from typing import Any

import fsspec
import pytest
from fsspec.tests.abstract import AbstractFixtures
from fsspec.tests.abstract.get import AbstractGetTests
from fsspec.tests.abstract.pipe import AbstractPipeTests
from fsspec.tests.abstract.put import AbstractPutTests

__all__ = ["TestGet", "TestPipe", "TestPut"]


class Fixtures(AbstractFixtures):  # type: ignore[misc]  # fsspec is not typed
    """A directory of a workspace."""

    @pytest.fixture(scope="class")
    def fs(self) -> Any:
        """:return: the file system."""
        return fsspec.filesystem("chatfiles")

    @pytest.fixture
    def fs_path(self) -> str:
        """:return: a directory that can be written to."""
        return f"{os.environ['CHATFILES_WORKSPACE']}/workspace/out"


class TestGet(AbstractGetTests, Fixtures):  # type: ignore[misc]
    """``get``."""


class TestPut(AbstractPutTests, Fixtures):  # type: ignore[misc]
    """``put``."""


class TestPipe(AbstractPipeTests, Fixtures):  # type: ignore[misc]
    """``pipe``."""
