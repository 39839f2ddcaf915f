"""
Registers the endpoint ``chatfiles-tls:`` with Twisted.  This directory must have no
``__init__.py``.
"""

from chatfiles.runtime.tls.endpoint import TLSEndpointParser

chatfiles_tls = TLSEndpointParser()
