"""
The audit log: who did what with files and rights (reference/audit).
"""
