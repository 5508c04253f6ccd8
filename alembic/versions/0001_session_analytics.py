"""Therapy sessions, their analytics, and the versions and change log that caches live by.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Text to time is only STABLE in PostgreSQL, because it reads DateStyle and TimeZone. For ISO 8601 it reads neither, so these may be
# IMMUTABLE, which generated columns require. A text of another form is NULL rather than an error.
_FUNCTIONS = (
    r"""
    CREATE FUNCTION iso_timestamp(iso text) RETURNS timestamp LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
      SELECT CASE WHEN iso ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?$' THEN iso::timestamp END
    $$
    """,
    r"""
    CREATE FUNCTION iso_timestamptz(iso text) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
      SELECT CASE WHEN iso ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$' THEN iso::timestamptz END
    $$
    """,
)

_TABLES = (
    """
    CREATE TABLE therapy_session (
      session_id        uuid PRIMARY KEY,
      recording_sha256  text NOT NULL UNIQUE,
      file_name         text NOT NULL,
      size_bytes        bigint NOT NULL,
      recorded_at       timestamp,
      registered_at     timestamptz NOT NULL
    )
    """,
    "CREATE INDEX ix_therapy_session_registered_at ON therapy_session (registered_at DESC, session_id DESC)",
    """
    CREATE TABLE session_analytics (
      session_id          uuid PRIMARY KEY,
      document            jsonb NOT NULL,
      file_name           text GENERATED ALWAYS AS (document #>> '{recording,file_name}') STORED,
      recorded_at         timestamp GENERATED ALWAYS AS (iso_timestamp(document #>> '{recording,recorded_at}')) STORED,
      processed_at        timestamptz GENERATED ALWAYS AS (iso_timestamptz(document #>> '{summary,processed_at}')) STORED,
      channel_count       integer GENERATED ALWAYS AS ((document #>> '{summary,channel_count}')::integer) STORED,
      overall_compliance  double precision
                          GENERATED ALWAYS AS ((document #>> '{summary,overall_compliance}')::double precision) STORED
    )
    """,
    "CREATE INDEX ix_session_analytics_recorded_at ON session_analytics (recorded_at DESC, session_id DESC)",
    "CREATE INDEX ix_session_analytics_processed_at ON session_analytics (processed_at DESC, session_id DESC)",
    "CREATE INDEX ix_session_analytics_overall_compliance ON session_analytics (overall_compliance)",
    """
    CREATE TABLE session_analytics_version (
      session_id  uuid PRIMARY KEY,
      version     bigint NOT NULL
    )
    """,
    """
    CREATE TABLE session_analytics_change (
      id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
      session_id  uuid,
      version     bigint,
      changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX ix_session_analytics_change_xid ON session_analytics_change (xid)",
    """
    CREATE TABLE session_analytics_store (
      only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
      store_id     uuid NOT NULL DEFAULT gen_random_uuid(),
      log_trimmed  boolean NOT NULL DEFAULT false
    )
    """,
    "INSERT INTO session_analytics_store DEFAULT VALUES",
)

# SECURITY DEFINER: whoever may write the analytics need not be allowed to write the log, and cannot write around it. pg_temp stands last
# in the search path, so that nobody's temporary table is taken for ours.
_TRIGGERS = (
    """
    CREATE FUNCTION session_analytics_bump(changed uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    DECLARE
      bumped bigint;
    BEGIN
      -- The upsert locks the version's row until commit, so versions of one session are handed out in the order of commits.
      INSERT INTO session_analytics_version AS v (session_id, version) VALUES (changed, 1)
        ON CONFLICT (session_id) DO UPDATE SET version = v.version + 1
        RETURNING v.version INTO bumped;
      INSERT INTO session_analytics_change (session_id, version) VALUES (changed, bumped);
      -- Every write adds one row and drops up to four of over 48 hours, so the log is bounded by two days of writes. They go in the order
      -- of transactions and never past one that is younger: a trimmed log is complete from just after its oldest transaction on.
      DELETE FROM session_analytics_change WHERE id IN (
        SELECT id FROM session_analytics_change WHERE id IN (
          SELECT id FROM (
            SELECT id, bool_and(changed_at < clock_timestamp() - interval '48 hours') OVER (ORDER BY xid, id) AS old
            FROM (SELECT id, xid, changed_at FROM session_analytics_change ORDER BY xid, id LIMIT 4) AS oldest
          ) AS prefix WHERE old
        ) FOR UPDATE SKIP LOCKED
      );
      IF FOUND THEN
        UPDATE session_analytics_store SET log_trimmed = true WHERE NOT log_trimmed;
      END IF;
      PERFORM pg_notify('session_analytics_change', '');
    END
    $$
    """,
    """
    CREATE FUNCTION session_analytics_row_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    BEGIN
      IF TG_OP <> 'INSERT' THEN
        PERFORM session_analytics_bump(OLD.session_id);
      END IF;
      IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND NEW.session_id <> OLD.session_id) THEN
        PERFORM session_analytics_bump(NEW.session_id);
      END IF;
      RETURN NULL;
    END
    $$
    """,
    """
    CREATE FUNCTION session_analytics_truncated() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    BEGIN
      UPDATE session_analytics_version SET version = version + 1;
      INSERT INTO session_analytics_change (session_id, version) VALUES (NULL, NULL);
      PERFORM pg_notify('session_analytics_change', '');
      RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER session_analytics_row_changed AFTER INSERT OR UPDATE OR DELETE ON session_analytics
      FOR EACH ROW EXECUTE FUNCTION session_analytics_row_changed()
    """,
    """
    CREATE TRIGGER session_analytics_truncated AFTER TRUNCATE ON session_analytics
      FOR EACH STATEMENT EXECUTE FUNCTION session_analytics_truncated()
    """,
)


def upgrade() -> None:
    """Functions, tables, triggers."""
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote_identifier(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
    for statement in (*_FUNCTIONS, *_TABLES):
        op.execute(statement)
    for statement in _TRIGGERS:
        op.execute(statement.replace("{schema}", schema))


def downgrade() -> None:
    """Drops all of it, data included."""
    op.execute(
        "DROP TABLE session_analytics, session_analytics_version, session_analytics_change, session_analytics_store, therapy_session"
    )
    op.execute("DROP FUNCTION session_analytics_row_changed, session_analytics_truncated, session_analytics_bump")
    op.execute("DROP FUNCTION iso_timestamp, iso_timestamptz")
