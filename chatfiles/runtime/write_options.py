"""
The options of uploads and writes (reference/writes, "Writable prefixes").
"""

from __future__ import annotations

from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM, WORKSPACE

__all__ = ["WRITE_OPTIONS"]

_BOTH = (PLATFORM, WORKSPACE)

WRITE_OPTIONS: tuple[Option, ...] = (
    Option(
        "writable",
        (WORKSPACE,),
        "directory in which clients may write files, such as /workspace/out; may be given several "
        "times. Default: none",
        option_values.prefix,
        many=True,
    ),
    Option(
        "write-in-place",
        (WORKSPACE,),
        "like writable, for a file system on which a rename fails: files are not replaced "
        "atomically; may be given several times",
        option_values.prefix,
        many=True,
    ),
    Option(
        "max-request-bytes",
        _BOTH,
        "bytes of one upload request, or with a unit: 100M, 1G",
        option_values.size,
        "104857600",
    ),
    Option(
        "max-file-bytes",
        _BOTH,
        "bytes of one uploaded file, or with a unit",
        option_values.size,
        "104857600",
    ),
)
