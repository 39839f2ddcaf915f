"""
Resumable uploads (tus 1.0.0; reference/resumable).

An upload is a partial file, whose length is the offset, and a record.  A complete file is published
as every other file is.
"""
