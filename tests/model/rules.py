"""The protocol's ingredients, each of which can be left out. Every field's first choice is the protocol; the others are mutants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What readers, writers, the relay and the scripts do."""

    # Leases and entries
    fill_needs: Literal["token", "newer version", "nothing"] = "token"
    """What FILL asks before it stores: the token still there; no entry, or an older one; nothing."""
    entry_epoch_of: Literal["look-up", "fill"] = "look-up"
    """Whose heartbeat an entry's epoch is: the one read before loading, or the one there when it is stored."""
    readers_compare_epochs: bool = True
    lease_voided_below: Literal["floor", "any floor"] = "floor"
    """Which leases an invalidation voids: those whose floor is lower than its version; those without any floor."""
    absent_version: Literal["floor", "asked afterwards"] = "floor"
    """Which version an entry has that says "there is nothing": one known before it was read, or one asked for after that."""

    # Writers
    writer_sends: Literal["invalidation", "value"] = "invalidation"
    delete_voids_lease: bool = True
    versions_survive_deletes: bool = True
    unchanged_save_invalidates: bool = True
    """A save that finds the same content there may be the retry of one whose invalidation is still on its way."""

    # The relay
    position_kept_in: Literal["redis", "relay"] = "redis"
    lost_position_begins_epoch: bool = True
    log_read_from: Literal["xmin", "last seen"] = "xmin"
    apply_is_atomic: bool = True
    apply_checks_nonce: bool = True
    apply_checks_position: bool = True
    heartbeat_dates_from: Literal["mark", "apply"] = "mark"


PROTOCOL = Rules()
