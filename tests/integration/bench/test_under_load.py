"""The works under load, made small: they find what they look for, in ours and in others."""

from __future__ import annotations

import pytest

from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.under_load import AiocacheAside, CashewsAside, RedisPyAside
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.works import outage, staleness
from adapters.entrypoints.bench.works.outage import runs_of as outages_of
from adapters.entrypoints.bench.works.staleness import runs_of as stalenesses_of

# cashews and aiocache call what redis-py would rather not have called.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")


async def test_an_outage_is_felt_by_everybody_and_answered_by_ours(stage: Stage) -> None:
    plan = outage.Plan(20.0, 20.0, 0.6, 0.8, 0.6, 0.6, 1.0, repetitions=1, together=True)
    runs = await outages_of((Ours, OursFar, RedisPyAside, CashewsAside, AiocacheAside), plan, stage)
    for name, (run,) in runs.items():
        moments = run.moments
        assert moments.begin_s < moments.frozen_s < moments.resumed_s < moments.killed_s < moments.back_s < moments.end_s
        assert {call.what for call in run.calls} == {"read", "write"}, name
        assert {"postgres"} < {call.source for call in run.calls if call.what == "read" and not call.error}, name
        assert len(run.database) > 10
    for ours in (Ours, OursFar):
        (run,) = runs[ours.name]
        assert (run.errors(), run.wrong()) == (0, 0)
    found = outage.findings(runs, plan)
    assert {len(table.rows) for table in found.tables} == {5}
    assert [curves.name for curves in found.curves] == ["outage_latency", "outage_answered", "outage_age"]


async def test_readers_who_fill_what_was_overwritten_are_caught_and_ours_never_do(stage: Stage) -> None:
    plan = staleness.Plan(100.0, 20.0, 0.5, races=40, repetitions=1, together=True)
    runs = await stalenesses_of((Ours, OursFresh, RedisPyAside), plan, stage)
    (ours,), (fresh,), (theirs,) = runs.values()
    assert (ours.stayed_old, ours.lost_races) == (fresh.stayed_old, fresh.lost_races) == (0, 0)
    assert fresh.broken == 0
    assert theirs.lost_races > 0
    assert theirs.hits_share > 0
    assert max(theirs.past_s) > 0  # Nobody told them.
    assert {table.group for table in staleness.findings(runs, plan).tables} == {"How old what is read is, while others write"}
