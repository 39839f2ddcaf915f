"""
The embedded registry: one SQLite file on the local machine.
"""
