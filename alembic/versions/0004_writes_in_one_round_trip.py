"""Saving and deleting analytics, each with the version that came of it, as one call.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# With the rights of whoever calls them: they may do no more than their statements. Each statement has its triggers behind it when the next
# one begins, so the version that is read is the one that they gave. An upsert locks the row even where it changes nothing: nobody else
# can have bumped the version since.
_FUNCTIONS = (
    # The moment of processing alone is no news. Compared as documents, not as digests, so that an edit made in psql counts as a change.
    # Whatever is stored is no obstacle: of a damaged document the path may lead nowhere, or to no moment.
    """
    CREATE FUNCTION session_analytics_save(saved uuid, new_document jsonb, OUT changed boolean, OUT version bigint)
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
    DECLARE
      moment CONSTANT text[] := '{summary,processed_at}';
    BEGIN
      INSERT INTO session_analytics AS stored (session_id, document) VALUES (saved, new_document)
        ON CONFLICT (session_id) DO UPDATE SET document = excluded.document
        WHERE stored.processed_at IS NULL OR excluded.document #- moment IS DISTINCT FROM
          CASE jsonb_typeof(stored.document -> 'summary') WHEN 'object' THEN stored.document #- moment ELSE stored.document END;
      changed := FOUND;
      SELECT of_session.version INTO version FROM session_analytics_version AS of_session WHERE of_session.session_id = saved;
    END
    $$
    """,
    """
    CREATE FUNCTION session_analytics_delete(deleted uuid, OUT changed boolean, OUT version bigint)
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
    BEGIN
      DELETE FROM session_analytics WHERE session_id = deleted;
      changed := FOUND;
      SELECT of_session.version INTO version FROM session_analytics_version AS of_session WHERE of_session.session_id = deleted;
    END
    $$
    """,
)


def upgrade() -> None:
    """Two functions."""
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote_identifier(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
    for statement in _FUNCTIONS:
        op.execute(statement.replace("{schema}", schema))


def downgrade() -> None:
    """Drops them; nothing depends on them but programs that know them."""
    op.execute("DROP FUNCTION session_analytics_save, session_analytics_delete")
