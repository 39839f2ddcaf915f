"""Tests of `chatfiles.runtime.metrics`."""
