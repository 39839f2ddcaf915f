"""
Uploads: parsed while they arrive, written in threads, published all or none.
"""
