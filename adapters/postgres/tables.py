"""The tables as SQLAlchemy Core sees them. The migrations make them, with triggers that Core cannot express; a test compares the two."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

metadata: Final = sa.MetaData()


class Xid8(sa.types.UserDefinedType[int]):
    """A 64-bit transaction id. Drivers hand it over as text; queries cast it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The type's name in SQL."""
        return "xid8"


therapy_session: Final = sa.Table(
    "therapy_session",
    metadata,
    sa.Column("session_id", sa.Uuid, primary_key=True),
    sa.Column("recording_sha256", sa.Text, unique=True),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("recorded_at", sa.DateTime(timezone=False)),
    sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("patient_code", sa.Text),
    sa.Column("recording_key", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("progress", sa.Double, nullable=False),
    sa.Column("failure", sa.Text),
    sa.Column("same_as", sa.Uuid),
    sa.Column("mvc", JSONB(none_as_null=True)),
    sa.CheckConstraint("jsonb_typeof(mvc) = 'object'", name="ck_therapy_session_mvc"),
    sa.CheckConstraint("state IN ('received', 'processing', 'completed', 'failed', 'duplicate')", name="ck_therapy_session_state"),
    sa.Index("ix_therapy_session_registered_at", sa.text("registered_at DESC"), sa.text("session_id DESC")),
    sa.Index("ix_therapy_session_patient_code", "patient_code", sa.text("registered_at DESC"), sa.text("session_id DESC")),
    sa.Index("ix_therapy_session_same_as", "same_as", postgresql_where=sa.text("same_as IS NOT NULL")),
)

patient_assignment: Final = sa.Table(
    "patient_assignment",
    metadata,
    sa.Column("patient_code", sa.Text, primary_key=True),
    sa.Column("therapist", sa.Text, nullable=False),
    sa.Index("ix_patient_assignment_therapist", "therapist"),
)

# The document is the truth; the other columns are PostgreSQL's own extracts of it, for listing and for researchers' WHERE clauses.
session_analytics: Final = sa.Table(
    "session_analytics",
    metadata,
    sa.Column("session_id", sa.Uuid, primary_key=True),
    sa.Column("document", JSONB, nullable=False),
    sa.Column("file_name", sa.Text, sa.Computed("(document #>> '{recording,file_name}')", persisted=True)),
    sa.Column("recorded_at", sa.DateTime(), sa.Computed("iso_timestamp(document #>> '{recording,recorded_at}')", persisted=True)),
    sa.Column("processed_at", sa.DateTime(True), sa.Computed("iso_timestamptz(document #>> '{summary,processed_at}')", persisted=True)),
    sa.Column("channel_count", sa.Integer, sa.Computed("((document #>> '{summary,channel_count}')::integer)", persisted=True)),
    sa.Column(
        "overall_compliance",
        sa.Double,
        sa.Computed("((document #>> '{summary,overall_compliance}')::double precision)", persisted=True),
    ),
    sa.Index("ix_session_analytics_recorded_at", sa.text("recorded_at DESC"), sa.text("session_id DESC")),
    sa.Index("ix_session_analytics_processed_at", sa.text("processed_at DESC"), sa.text("session_id DESC")),
    sa.Index("ix_session_analytics_overall_compliance", "overall_compliance"),
)

# Never deleted from: a session that is deleted and analysed again goes on counting, so a version never means two contents.
session_analytics_version: Final = sa.Table(
    "session_analytics_version",
    metadata,
    sa.Column("session_id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

# What caches read to learn of writes. session_id NULL: everything may have changed (TRUNCATE).
session_analytics_change: Final = sa.Table(
    "session_analytics_change",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
    sa.Column("session_id", sa.Uuid),
    sa.Column("version", sa.BigInteger),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Index("ix_session_analytics_change_xid", "xid"),
)

# One row: which store this is, and whether the beginning of its change log is gone.
session_analytics_store: Final = sa.Table(
    "session_analytics_store",
    metadata,
    sa.Column("only_row", sa.Boolean, sa.CheckConstraint("only_row"), primary_key=True, server_default=sa.true()),
    sa.Column("store_id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
    sa.Column("log_trimmed", sa.Boolean, nullable=False, server_default=sa.false()),
)
