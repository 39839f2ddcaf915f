"""Sphinx settings: ``sphinx-build docs docs/_build``."""

from chatfiles import __version__

project = "chatfiles"
author = "the chatfiles maintainers"
release = version = __version__
extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "containers", "several-nodes", "systemd"]
html_theme = "alabaster"
