"""
How every file that a client sends gets its name: it is written without one, or under a hidden one,
and published when it is complete and on the disk.
"""
