"""
The heads of HTTP/1.1 messages: bytes in, a verdict out.

``rules`` holds what requests and responses share; that module does not know which role we play.
``request`` is what the server reads, ``response`` what the upstream client reads.
"""
