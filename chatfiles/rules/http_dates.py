"""
HTTP dates (RFC 9110, 5.6.7): writes one format and reads three, from and to seconds since the
epoch.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["format_http_date", "parse_http_date"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The first and last second that a date with a four-digit year can express.
_FIRST = -62_135_596_800
_LAST = 253_402_300_799

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_DAY_NAME = "(?:" + "|".join(_DAYS) + ")"
_LONG_DAY_NAME = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMATS = tuple(
    re.compile(pattern.encode("ascii"))
    for pattern in (
        # Sun, 06 Nov 1994 08:49:37 GMT
        f"{_DAY_NAME}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        # Sunday, 06-Nov-94 08:49:37 GMT
        f"{_LONG_DAY_NAME}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        # Sun Nov  6 08:49:37 1994
        f"{_DAY_NAME} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def format_http_date(seconds: int) -> bytes:
    """
    :param seconds: since the epoch.  A time outside the years 1 to 9999 is replaced by the nearest
        second within them.
    :return: an IMF-fixdate.
    """
    moment = _EPOCH + timedelta(seconds=min(max(seconds, _FIRST), _LAST))
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return (
        f"{day}, {moment.day:02} {month} {moment.year:04} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT"
    ).encode("ascii")


def parse_http_date(value: bytes, now: int) -> int | None:
    """
    Read any of the three formats.  The day name must be valid, but need not match the date.

    :param value: the value of a header.
    :param now: seconds since the epoch; determines the century of a two-digit year.
    :return: seconds since the epoch; ``None`` if *value* is not an HTTP-date.
    """
    for pattern in _FORMATS:
        if found := pattern.fullmatch(value.strip(b" \t")):
            return _seconds(
                {name: text.decode("ascii") for name, text in found.groupdict().items()}, now
            )
    return None


def _seconds(fields: dict[str, str], now: int) -> int | None:
    month = _MONTHS.index(fields["month"]) + 1
    day, hour, minute, second = (int(fields[name]) for name in ("day", "hour", "minute", "second"))
    year = int(fields["year"])
    if len(fields["year"]) == 2:
        year = _full_year(year, (month, day, hour, minute, second), now)
    if second > 60:  # 60 is a leap second
        return None
    try:
        return (datetime(year, month, day, hour, minute, tzinfo=UTC) - _EPOCH) // timedelta(
            seconds=1
        ) + second
    except ValueError:
        return None


def _full_year(two_digits: int, rest: tuple[int, ...], now: int) -> int:
    """
    :return: the year with all digits.  A date more than 50 years in the future is taken for the
        most recent such year in the past (RFC 9110, 5.6.7).
    """
    today = _EPOCH + timedelta(seconds=now)
    year = today.year - today.year % 100 + two_digits
    limit = (today.year + 50, *today.timetuple()[1:6])
    return year - 100 if (year, *rest) > limit else year
