"""
What is measured: chatfiles, and servers to compare it with.
"""
