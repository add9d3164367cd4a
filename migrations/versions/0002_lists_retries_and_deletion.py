"""Indexes of sorted lists, idempotency keys, and marks of deleted accounts.

The release before runs on this schema: it names its columns, and the new ones may be null.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema here."""
    op.create_table(
        "deleted_subjects",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
    )
    op.add_column("tasks", sa.Column("idempotency_key", sa.Text()))
    op.add_column("tasks", sa.Column("idempotency_digest", sa.Text()))
    op.create_index("tasks_user_id_created_at_id", "tasks", ["user_id", "created_at", "id"])
    op.create_index("tasks_user_id_updated_at_id", "tasks", ["user_id", "updated_at", "id"])
    op.create_index("tasks_user_id_title_id", "tasks", ["user_id", "title", "id"])
    op.create_index(
        "tasks_user_id_idempotency_key",
        "tasks",
        ["user_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    """Take the schema back."""
    for name in ("idempotency_key", "title_id", "updated_at_id", "created_at_id"):
        op.drop_index(f"tasks_user_id_{name}", "tasks")
    op.drop_column("tasks", "idempotency_digest")
    op.drop_column("tasks", "idempotency_key")
    op.drop_table("deleted_subjects")
