"""
What is measured of each system.
"""
