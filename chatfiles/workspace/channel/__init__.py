"""
Connections that a workspace makes to its platform, so that it can be reached behind NAT
(reference/channel-workspace).  After an upgrade, the platform sends its requests on them.
"""
