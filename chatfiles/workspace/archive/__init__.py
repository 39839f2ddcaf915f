"""
Archives of folders: zip, tar and tar.gz, made while they are sent (reference/archives).
"""
