"""
The options of resumable uploads (reference/resumable, "Limits").
"""

from __future__ import annotations

from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM, WORKSPACE

__all__ = ["RESUMABLE_OPTIONS"]

RESUMABLE_OPTIONS: tuple[Option, ...] = (
    Option(
        "max-resumable-bytes",
        (PLATFORM, WORKSPACE),
        "bytes of a file in a resumable upload, or with a unit; 0 for no resumable uploads",
        option_values.size_or_none,
        "10G",
    ),
    Option(
        "upload-expiry",
        (WORKSPACE,),
        "seconds after its last byte for which an unfinished resumable upload is kept",
        option_values.seconds,
        "86400",
    ),
    Option(
        "max-unfinished-uploads",
        (WORKSPACE,),
        "resumable uploads of the workspace that are not finished",
        option_values.count,
        "64",
    ),
    Option(
        "allow-origin",
        (PLATFORM,),
        "origin whose pages may use resumable uploads, such as https://app.example.com; may be "
        "given several times. Default: none",
        option_values.origin,
        many=True,
    ),
)
