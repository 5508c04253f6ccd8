"""Maximum voluntary contractions that are given with a recording.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column; of the sessions that are there none was given any."""
    op.execute("ALTER TABLE therapy_session ADD mvc jsonb CONSTRAINT ck_therapy_session_mvc CHECK (jsonb_typeof(mvc) = 'object')")


def downgrade() -> None:
    """Drops it. The analytics keep the values that they were made with."""
    op.execute("ALTER TABLE therapy_session DROP mvc")
