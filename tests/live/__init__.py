"""Tests with real processes of both roles, real sockets and real files."""
