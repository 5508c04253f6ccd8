"""What a C3D file says of a session besides its signals: when, by what system, of which game and of whom."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from adapters.c3d.channels import channel_units
from adapters.c3d.header import C3dHeader, Value
from domain.analytics import Fact

_FILE_TIME: Final = re.compile(r"_(\d{8})_(\d{2})-(\d{2})-(\d{2})-(\d{4})\.c3d", re.IGNORECASE)
_MILLISECONDS: Final = 1000
_TIME_FIELDS: Final = 5
_PEOPLE: Final = re.compile("therapist|patient|player|subject|person|participant|operator|clinician|user|group|birth|mail", re.IGNORECASE)
_VALUES_MAX: Final = 64  # A fact with more values is a table (of calibrations, of markers), and would outgrow the document.
_TEXT_MAX: Final = 500


def recorded_at(file_name: str, header: C3dHeader) -> datetime | None:
    """When the recording was made, local time: by its file name, else by INFO:TIME (year, month, day, hour, minute), else unknown.

    The last four digits of a file name `…_YYYYMMDD_HH-MM-SS-ffff.c3d` are milliseconds with a leading zero: in no known file
    of GHOSTLY do they reach 1000. Where they do they mean something else, and are left out.
    """
    if match := _FILE_TIME.search(file_name):
        day, hour, minute, second, fraction = match.groups()
        milliseconds = int(fraction) if int(fraction) < _MILLISECONDS else 0
        try:
            return (
                datetime(  # noqa: DTZ001 - recordings name no time zone
                    int(day[:4]), int(day[4:6]), int(day[6:]), int(hour), int(minute), int(second)
                )
                + timedelta(milliseconds=milliseconds)
            )
        except ValueError:
            pass  # No date: the file says it too.
    fields = header.texts("INFO", "TIME")
    try:
        year, month, day_of_month, hour_of_day, minute_of_hour = (int(field) for field in fields[:_TIME_FIELDS])
        return datetime(year, month, day_of_month, hour_of_day, minute_of_hour)  # noqa: DTZ001 - recordings name no time zone
    except (ValueError, OverflowError):
        return None


def system(header: C3dHeader) -> str | None:
    """The recording system, by INFO:SYSTEM or what manufacturers put in its place."""
    for group, parameter in (("INFO", "SYSTEM"), ("MANUFACTURER", "SOFTWARE"), ("MANUFACTURER", "COMPANY")):
        for text in header.texts(group, parameter)[:1]:
            if text and len(text) <= _TEXT_MAX:
                return text
    return None


def amplitude_unit(header: C3dHeader, raw: Iterable[int]) -> str | None:
    """The unit of the raw signals at these places, if they have one in common."""
    units = channel_units(header)
    common = {units[i] for i in raw}
    return (common.pop() or None) if len(common) == 1 else None


def game_facts(header: C3dHeader) -> dict[str, Fact]:
    """What INFO says, except of people, and except system and time, which have fields of their own."""
    facts = dict(_facts(header, "INFO"))
    return {name: facts[name] for name in sorted(facts) if not _PEOPLE.search(name) and name not in ("system", "time")}


def subject_facts(header: C3dHeader) -> dict[str, Fact]:
    """What SUBJECTS says, and what INFO says of people: all that may identify a person is here."""
    facts = {name: fact for name, fact in _facts(header, "INFO") if _PEOPLE.search(name)} | dict(_facts(header, "SUBJECTS"))
    return {name: facts[name] for name in sorted(facts)}


def _facts(header: C3dHeader, group: str) -> Iterator[tuple[str, Fact]]:
    """The parameters of a group that are facts: finite numbers and texts, of bounded size; empty ones tell nothing."""
    for name, values in header.parameters.get(group, {}).items():
        known = tuple(value for value in values if value != "")
        if name and 0 < len(known) <= _VALUES_MAX and all(_is_fact(value) for value in values):
            yield name.lower(), _fact(known if len(known) == 1 else values)


def _is_fact(value: Value) -> bool:
    return len(value) <= _TEXT_MAX if isinstance(value, str) else math.isfinite(value)


def _fact(values: tuple[Value, ...]) -> Fact:
    """A single value as itself, several as a tuple: parameters hold one type each, so a tuple is of one type."""
    if len(values) == 1:
        return values[0]
    if isinstance(values[0], str):
        return tuple(str(value) for value in values)
    if isinstance(values[0], int):
        return tuple(int(value) for value in values)
    return tuple(float(value) for value in values)
