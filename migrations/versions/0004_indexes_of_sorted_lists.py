"""Indexes of lists sorted by priority, by due date, and by title without regard to case."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KEYS = {
    "tasks_user_id_priority_id": "priority",
    "tasks_user_id_due_date_id": "coalesce(due_date, 'infinity')",
    "tasks_user_id_due_date_desc_id": "coalesce(due_date, '-infinity')",
    "tasks_user_id_folded_title_id": "todo_backend_fold_case(title)",
}


def upgrade() -> None:
    """Bring the schema here."""
    with op.get_context().autocommit_block():
        for name, key in _KEYS.items():
            op.create_index(
                name,
                "tasks",
                ["user_id", sa.text(key), "id"],
                postgresql_concurrently=True,
                if_not_exists=True,
            )
        # The index with regard to case, which nothing uses any more.
        op.drop_index(
            "tasks_user_id_title_id", "tasks", postgresql_concurrently=True, if_exists=True
        )


def downgrade() -> None:
    """Take the schema back."""
    op.create_index("tasks_user_id_title_id", "tasks", ["user_id", "title", "id"])
    for name in _KEYS:
        op.drop_index(name, "tasks")
