"""
Small servers to compare with: programs, each with the port to listen on as first argument.
"""
