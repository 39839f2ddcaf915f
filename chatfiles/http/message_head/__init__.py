"""
Parses the start line and the headers of HTTP/1.1 messages (`RequestHead`, `ResponseHead`).

``rules`` has the rules that requests and responses share.  The server uses ``request``, and the
upstream client uses ``response``.
"""
