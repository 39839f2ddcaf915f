"""Tests of `chatfiles.runtime.audit`."""
