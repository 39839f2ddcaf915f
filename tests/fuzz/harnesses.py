"""
The names of all harnesses. This module imports nothing of chatfiles, so that it can be
instrumented.
"""

HARNESSES = ("answers", "bodies", "conditions", "dispositions", "queries", "requests", "urls")
