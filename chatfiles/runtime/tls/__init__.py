"""
TLS: certificates that are renewed without a restart, for listeners and for the peers of a role.
"""
