"""
The embedded registry: one SQLite file beside the process.
"""
