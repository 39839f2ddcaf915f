"""
chatfiles: the file plane between an agent platform and its workspaces.

Two roles share this package.  The *platform* authenticates a client, finds the workspace in a
registry and forwards over HTTP; the *workspace* runs beside the files and serves or stores them.
Both are launched by ``twistd chatfiles``; people use the ``chatfiles`` console script.
"""

__all__ = ["__version__"]

__version__ = "0.3.0"
