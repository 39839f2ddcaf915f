"""Tests for `chatfiles.workspace.archive`."""
