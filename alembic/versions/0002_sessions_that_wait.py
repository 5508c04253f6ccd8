"""Sessions that wait to be processed: their state, their recording's key, their patient; and who treats whom.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Until now sessions were registered when they had been analysed, so those that are there are completed.
_UP = (
    """
    ALTER TABLE therapy_session
      ALTER recording_sha256 DROP NOT NULL,
      ALTER size_bytes DROP NOT NULL,
      ADD patient_code   text,
      ADD recording_key  text,
      ADD state          text NOT NULL DEFAULT 'completed'
                         CONSTRAINT ck_therapy_session_state
                         CHECK (state IN ('received', 'processing', 'completed', 'failed', 'duplicate')),
      ADD progress       double precision NOT NULL DEFAULT 1,
      ADD failure        text,
      ADD same_as        uuid
    """,
    "ALTER TABLE therapy_session ALTER state DROP DEFAULT, ALTER progress DROP DEFAULT",
    "CREATE INDEX ix_therapy_session_patient_code ON therapy_session (patient_code, registered_at DESC, session_id DESC)",
    "CREATE INDEX ix_therapy_session_same_as ON therapy_session (same_as) WHERE same_as IS NOT NULL",
    """
    CREATE TABLE patient_assignment (
      patient_code  text PRIMARY KEY,
      therapist     text NOT NULL
    )
    """,
    "CREATE INDEX ix_patient_assignment_therapist ON patient_assignment (therapist)",
)

_DOWN = (
    "DROP TABLE patient_assignment",
    # Below, every registered session has been read.
    "DELETE FROM therapy_session WHERE recording_sha256 IS NULL OR size_bytes IS NULL",
    "DROP INDEX ix_therapy_session_patient_code, ix_therapy_session_same_as",
    """
    ALTER TABLE therapy_session
      ALTER recording_sha256 SET NOT NULL,
      ALTER size_bytes SET NOT NULL,
      DROP patient_code, DROP recording_key, DROP state, DROP progress, DROP failure, DROP same_as
    """,
)


def upgrade() -> None:
    """Columns, indexes and the assignments."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Drops them, and the sessions that were not read yet."""
    for statement in _DOWN:
        op.execute(statement)
