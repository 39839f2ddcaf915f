"""
Uploads: parsed while they arrive, written in threads, published all or nothing (CONTRACT 7).
"""
