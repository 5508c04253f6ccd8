"""What a hit, a miss, a write and a page of the list cost as the number of sessions grows.

The rows are made by PostgreSQL itself, from one document that is cut down to a channel and two contractions, so that a million sessions
take some four gigabytes; ids are spread over the indexes as those of recordings are. While they are loaded the triggers rest, and what
those would have written is written too, but for the change log: it holds two days, and these sessions are older. Indexes that are no
constraints are dropped meanwhile and built again, which is quicker.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import document
from adapters.entrypoints.bench.documents import of_session, session_id_of, small
from adapters.entrypoints.bench.figures import Curves, Findings, Line, Row, Spread, Table
from adapters.entrypoints.bench.method import Rounds, Way, call_by_call
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import OursFar
from adapters.entrypoints.bench.stage import Stage
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_registry import PostgresSessionRegistry
from domain.analytics import SessionAnalytics
from domain.ports import PageKey, SessionQuery

FULL: Final = (1_000, 10_000, 100_000, 1_000_000)
QUICK: Final = (1_000, 10_000)
_ROWS_AT_ONCE: Final = 20_000
_STATEMENT_S_MAX: Final = 120.0
_HELD: Final = 100
_PAGE: Final = 50
_PATIENTS: Final = 200
_CALLS_MAX: Final = 60

# Odd, so that it maps the numbers below 2^48 onto themselves: neighbours are far apart.
_FACTOR: Final = 25_214_903_917
_BITS: Final = 48
_FIRST_AT: Final = datetime(2020, 1, 1, tzinfo=UTC)

_ID: Final = f"('e5e50000-0000-4000-8000-' || lpad(to_hex((n::bigint * {_FACTOR}) & {(1 << _BITS) - 1}), 12, '0'))::uuid"
_NUMBERS: Final = "generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n"
_ANALYTICS: Final = sa.text(
    "INSERT INTO session_analytics (session_id, document)"  # noqa: S608 - our own numbers
    " SELECT id, jsonb_set(CAST(:document AS jsonb), '{session_id}', to_jsonb(CAST(id AS text)))"
    f" FROM (SELECT {_ID} AS id FROM {_NUMBERS}) AS ids"
)
_VERSIONS: Final = sa.text(f"INSERT INTO session_analytics_version (session_id, version) SELECT {_ID}, 1 FROM {_NUMBERS}")  # noqa: S608
_SESSIONS: Final = sa.text(
    "INSERT INTO therapy_session (session_id, recording_sha256, file_name, size_bytes, recorded_at, registered_at, patient_code, state,"  # noqa: S608
    " progress)"
    f" SELECT {_ID}, encode(sha256(convert_to(n::text, 'UTF8')), 'hex'), 'session ' || n || '.c3d', 1000000,"
    " CAST(:first_at AS timestamptz) AT TIME ZONE 'UTC' + n * interval '1 minute',"
    " CAST(:first_at AS timestamptz) + n * interval '1 minute',"
    f" 'P' || (n % {_PATIENTS}), 'completed', 1 FROM {_NUMBERS}"
)


_TABLES: Final = ("session_analytics", "session_analytics_version", "therapy_session")
_INDEXES: Final = sa.text(
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = ANY(:tables)"
    " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
)


def number_of(n: int) -> int:
    """The number of the n-th session, from 1 on."""
    return (n * _FACTOR) % (1 << _BITS)


async def load_sessions(engine: AsyncEngine, analytics: SessionAnalytics, first: int, last: int) -> None:
    """Stores the sessions `first` to `last`, registered one a minute, of 200 patients."""
    body = document.encode_to_store(of_session(analytics, 0)).decode()
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE session_analytics DISABLE TRIGGER USER"))
        indexes = (await connection.execute(_INDEXES, {"tables": list(_TABLES)})).all()
        for index in indexes:
            await connection.execute(sa.text(f'DROP INDEX "{index.indexname}"'))
        for begin in range(first, last + 1, _ROWS_AT_ONCE):
            rows = {"first": begin, "last": min(last, begin + _ROWS_AT_ONCE - 1)}
            await connection.execute(_ANALYTICS, {**rows, "document": body})
            await connection.execute(_VERSIONS, rows)
            await connection.execute(_SESSIONS, {**rows, "first_at": _FIRST_AT})
        for index in indexes:
            await connection.execute(sa.text(index.indexdef))
        await connection.execute(sa.text("ALTER TABLE session_analytics ENABLE TRIGGER USER"))
    async with autocommit.connect() as connection:
        await connection.execute(sa.text(f"VACUUM (ANALYZE) {', '.join(_TABLES)}"))
        await connection.execute(sa.text("CHECKPOINT"))


async def growth(stage: Stage) -> Findings:
    """Costs by the number of sessions."""
    return await costs_at(FULL if stage.pace.thorough else QUICK, stage)


async def costs_at(sizes: Sequence[int], stage: Stage) -> Findings:
    """Costs at these numbers of sessions, which rise."""
    analytics = small(stage.documents.recorded)
    found: dict[int, Rounds] = {}
    engine = create_engine(stage.place.database_url, PostgresPolicy(statement_s=_STATEMENT_S_MAX))
    try:
        for place, (before, size) in enumerate(itertools.pairwise((0, *sizes))):
            stage.progress.at(size / (2 * sizes[-1]), f"loading {size:,} sessions")
            await load_sessions(engine, analytics, before + 1, size)
            stage.progress.at(size / sizes[-1], f"with {size:,} sessions")
            found[size] = await _costs(stage.with_prefix(f"growth{place}"), analytics, size)
    finally:
        await engine.dispose()
    return _found(found, len(document.encode(analytics)))


async def _costs(stage: Stage, analytics: SessionAnalytics, size: int) -> Rounds:
    held_count = min(_HELD, size // 2)
    dice = random.Random(size)
    shuffled = dice.sample(range(1, size + 1), min(size, held_count + 2 * stage.pace.many_rounds * (_CALLS_MAX + 10)))
    held, cold = list(map(number_of, shuffled[:held_count])), itertools.cycle(map(number_of, shuffled[held_count:]))
    editions = itertools.count(1)
    registry = PostgresSessionRegistry(stage.truth.engine)
    async with Opening(stage) as opening:
        peer = await opening.peer(OursFar, held)

        async def miss(_: int) -> object:
            return await peer.read(next(cold))

        async def write(_: int) -> object:
            number = next(cold)
            await peer.save(number, of_session(analytics, number, next(editions)))
            return None

        async def page(_: int) -> object:
            return await registry.page(SessionQuery(), limit=_PAGE)

        async def deep_page(_: int) -> object:
            at = _FIRST_AT + timedelta(minutes=dice.randrange(size // 4, size // 2))
            return await registry.page(SessionQuery(), limit=_PAGE, after=PageKey(at, session_id_of(0)))

        async def patients_page(_: int) -> object:
            return await registry.page(SessionQuery(patient_code=f"P{dice.randrange(_PATIENTS)}"), limit=_PAGE)

        ways = (
            Way("hit in Redis", peer.get),
            Way("miss", miss),
            Way("write", write),
            Way("first page of the list", page),
            Way("page in the middle of the list", deep_page),
            Way("page of a patient's sessions", patients_page),
        )
        pace = replace(stage.pace.fewer, calls=min(_CALLS_MAX, max(1, stage.pace.calls // 4)))
        return await call_by_call(ways, held, pace)


def _found(found: dict[int, Rounds], document_bytes: int) -> Findings:
    sizes: Sequence[int] = list(found)
    ways = list(found[sizes[0]].us)
    notes = (
        f"A document of {document_bytes:,} bytes: one channel, two contractions. Single calls in turn; a page has {_PAGE}"
        f" sessions, and the patients are {_PATIENTS}. In Redis is what was read, not all of the sessions.",
    )
    return Findings(
        tables=tuple(
            Table(
                f"growth_{size}", f"{size:,} sessions", "µs", less_is_better=True, reference=None, group="Costs as the sessions grow",
                rows=tuple(Row(way, Spread.of(found[size].us[way])) for way in ways),
                notes=notes if size == sizes[-1] else (),
            )
            for size in sizes
        ),
        curves=(
            Curves(
                "growth", "Cost by the number of sessions", "sessions", "µs a call",
                tuple(Line(way, tuple(map(float, sizes)), tuple(Spread.of(found[size].us[way]).median for size in sizes)) for way in ways),
                notes=notes,
            ),
        ),
    )  # fmt: skip
