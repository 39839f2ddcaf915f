"""
The tests of chatfiles.  They mirror the package; ``contract`` runs one suite over every implementer
of an interface, ``live`` starts real processes.
"""

from hypothesis import settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("chatfiles", deadline=None)
settings.load_profile("chatfiles")
