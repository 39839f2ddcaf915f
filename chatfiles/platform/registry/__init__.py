"""
The registry: stores the workspaces and their tokens.
"""
