"""
The registry: which workspaces there are, and which tokens open them (CONTRACT 3).
"""
