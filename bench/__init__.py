"""
Measures both roles beside other servers on the same machine: ``python -m bench --help``.
"""
