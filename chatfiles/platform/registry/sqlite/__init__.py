"""
The embedded registry: one SQLite file on the machine of the process.
"""
