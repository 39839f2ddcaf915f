"""Tests of `chatfiles.runtime.workers`; tests/live/test_workers.py starts the processes."""
