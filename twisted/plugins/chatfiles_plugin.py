"""Tells ``twistd`` of the ``chatfiles`` command.  There must be no ``__init__.py`` beside this."""

from twisted.application.service import ServiceMaker

chatfiles = ServiceMaker(
    "chatfiles",
    "chatfiles.tap",
    "Serve files between an agent platform and its workspaces.",
    "chatfiles",
)
