"""
The names of all harnesses; nothing of chatfiles is imported here, so that it can be instrumented.
"""

HARNESSES = ("answers", "bodies", "conditions", "dispositions", "queries", "requests", "urls")
