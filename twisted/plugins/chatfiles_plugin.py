"""
Registers the ``chatfiles`` command with ``twistd``.  This directory must have no ``__init__.py``.
"""

from twisted.application.service import ServiceMaker

chatfiles = ServiceMaker(
    "chatfiles",
    "chatfiles.tap",
    "Serve files between an agent platform and its workspaces.",
    "chatfiles",
)
