"""
The options that say what a role tells its operator.
"""

from __future__ import annotations

from typing import Final

from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM, WORKSPACE

__all__ = ["AUDIT_REQUIRED", "LOG_OPTIONS"]

_BOTH = (PLATFORM, WORKSPACE)
#: An option without a value.
AUDIT_REQUIRED: Final = "audit-required"

LOG_OPTIONS: Final = (
    Option(
        "log-format",
        _BOTH,
        "text, or json for one object on each line of the log",
        option_values.log_format,
        "text",
    ),
    Option(
        "metrics-listen",
        _BOTH,
        "Twisted server endpoint of metrics for Prometheus, such as tcp:9464:interface=127.0.0.1; "
        "all who reach it can read them. Default: none",
        option_values.text,
    ),
    Option(
        "audit-log",
        _BOTH,
        "file to which a line of JSON is appended for each operation on files or rights. "
        "Default: none",
        option_values.text,
    ),
    Option(
        AUDIT_REQUIRED,
        _BOTH,
        "refuse operations with 503 while lines of --audit-log cannot be written",
        option_values.switch,
        "0",
    ),
)
