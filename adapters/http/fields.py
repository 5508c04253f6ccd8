"""The header fields of a request, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Fields = Mapping[bytes, bytes]


def fields_of(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """All fields. One that came more than once is one list of its values (RFC 9110, 5.3), which no field that must be single survives."""
    fields = dict(headers)
    if len(fields) != len(headers):
        fields = {}
        for name, value in headers:
            fields[name] = value if name not in fields else fields[name] + b", " + value
    return fields
