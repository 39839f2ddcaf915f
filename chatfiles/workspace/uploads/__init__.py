"""
Uploads: parsed while they arrive, written in threads; either all files are published or none.
"""
