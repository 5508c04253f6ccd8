"""Chooses the EMG channels among all that a C3D file holds."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from adapters.c3d.header import C3dHeader
from domain.errors import InvalidRecording

_GHOSTLY: Final = re.compile(r"(?P<name>.+) (?P<kind>raw|activated)", re.IGNORECASE)
_EMG: Final = re.compile("emg", re.IGNORECASE)
_FORCE_PLATE: Final = re.compile(r"\b(force|moment|torque|cop|fp\d*|[fm]\d*[xyz]\d*)\b", re.IGNORECASE)
_VOLTAGES: Final = frozenset(("v", "mv", "uv", "\u03bcv", "nv", "volt", "volts", "millivolt", "millivolts", "microvolt", "microvolts"))
_LABELS_SHOWN: Final = 20
_LABEL_SHOWN_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class PlannedChannel:
    """A channel to be read: its name, and the places of its signals among the file's analog channels."""

    name: str
    raw: int
    activated: int | None


def choose_channels(file_name: str, header: C3dHeader, patterns: Sequence[str]) -> list[PlannedChannel]:
    """The EMG channels of a recording, by these rules; the first that finds any decides:

    - `patterns`, if given: the channels whose labels match one of these globs (upper and lower case differ).
    - GHOSTLY's naming: every "N Raw" is a channel N.
    - Other systems: labels that say EMG, or units of voltage, but no force plates.

    "N activated" is the activity signal of "N Raw", never a channel of its own. Names are unique: a second "N" becomes "N (2)".
    Raises InvalidRecording with the labels found if nothing is left.
    """
    labels = channel_labels(header)
    activity = _activity_signals(labels)
    candidates = [i for i in range(len(labels)) if i not in activity.values()]
    if patterns:
        chosen = [i for i in candidates if any(fnmatchcase(labels[i], pattern) for pattern in patterns)]
    else:
        chosen = [i for i in candidates if _ghostly_kind(labels[i]) == "raw"] or _by_label_and_unit(header, labels, candidates)
    if not chosen:
        sought = f"no label matches {', '.join(map(repr, patterns[:_LABELS_SHOWN]))}" if patterns else "no label or unit says EMG"
        raise InvalidRecording(file_name, f"{sought}; its analog channels are {_listed(labels)}; choose with the setting channels")
    names = unique([_ghostly_name(labels[i]) for i in chosen])
    return [PlannedChannel(name, i, activity.get(i)) for name, i in zip(names, chosen, strict=True)]


def channel_labels(header: C3dHeader) -> list[str]:
    """One label for each analog channel, without odd blanks and control characters; a channel without one is called by its number."""
    labels = [_clean(label) for label in header.texts("ANALOG", "LABELS")][: header.channels]
    labels += [""] * (header.channels - len(labels))
    return [label or f"Analog {i + 1}" for i, label in enumerate(labels)]


def channel_units(header: C3dHeader) -> list[str]:
    """One unit for each analog channel, "" where the file declares none."""
    units = [_clean(unit) for unit in header.texts("ANALOG", "UNITS")][: header.channels]
    return units + [""] * (header.channels - len(units))


def unique(names: Iterable[str]) -> list[str]:
    """The names with " (2)", " (3)" … behind those that came before, so that each is there once."""
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        candidate, i = name, 1
        while candidate in taken:
            i += 1
            candidate = f"{name} ({i})"
        taken.add(candidate)
        found.append(candidate)
    return found


def _activity_signals(labels: Sequence[str]) -> dict[int, int]:
    """Where the activity signal of each raw signal is. Of repeated labels the first belongs to the first, and so on."""
    places: dict[tuple[str, str, int], int] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for i, label in enumerate(labels):
        if kind := _ghostly_kind(label):
            key = (_ghostly_name(label), kind)
            places[*key, seen[key]] = i
            seen[key] += 1
    return {i: places[name, "activated", n] for (name, kind, n), i in places.items() if kind == "raw" and (name, "activated", n) in places}


def _by_label_and_unit(header: C3dHeader, labels: Sequence[str], candidates: Iterable[int]) -> list[int]:
    plates = _force_plate_channels(header)
    units = channel_units(header)
    return [
        i
        for i in candidates
        if i not in plates
        and (_EMG.search(labels[i]) or (units[i].casefold() in _VOLTAGES and not _FORCE_PLATE.search(re.sub(r"[_.]", " ", labels[i]))))
    ]


def _force_plate_channels(header: C3dHeader) -> set[int]:
    """FORCE_PLATFORM:CHANNEL counts from 1, and fills up with 0 where plates have different numbers of channels."""
    if not sum(header.numbers("FORCE_PLATFORM", "USED")):
        return set()
    return {int(number) - 1 for number in header.numbers("FORCE_PLATFORM", "CHANNEL")}


def _ghostly_kind(label: str) -> str | None:
    match = _GHOSTLY.fullmatch(label)
    return match["kind"].lower() if match else None


def _ghostly_name(label: str) -> str:
    match = _GHOSTLY.fullmatch(label)
    return match["name"] if match else label


def _clean(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(c if c.isprintable() else " " for c in composed).split())


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label[:_LABEL_SHOWN_MAX]) for label in labels[:_LABELS_SHOWN])
    return shown + (f" and {len(labels) - _LABELS_SHOWN} more" if len(labels) > _LABELS_SHOWN else "")
