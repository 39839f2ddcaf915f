"""Sphinx settings: ``sphinx-build -W docs docs/_build``."""

import sys
from pathlib import Path

from chatfiles import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "chatfiles"
author = "the chatfiles maintainers"
release = version = __version__
extensions = ["sphinx.ext.autodoc", "interfaces", "openapi", "state_diagrams"]
exclude_patterns = ["_build", "_ext", "containers", "several-nodes", "systemd"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1120px", "body_max_width": "none"}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
