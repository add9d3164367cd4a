"""Priority, due date and tags of tasks, and a function that folds case.

The release before runs on this schema: the new columns have defaults, which need no rewrite.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PRIORITY = postgresql.ENUM(
    "none", "low", "medium", "high", "urgent", name="task_priority", create_type=False
)


def _collation(connection: sa.Connection) -> str:
    """Return a collation that knows the case of all letters, whatever the database's locale.

    In the locale `C`, `lower` knows ASCII alone. PostgreSQL's own collation (17 and later) comes
    first: it never changes under an index.
    """
    for name in ("pg_c_utf8", "default", "C.utf8", "und-x-icu", "en_US.utf8"):
        is_known = sa.text(
            "SELECT EXISTS (SELECT FROM pg_collation WHERE collname = :name AND collencoding IN"
            " (-1, pg_char_to_encoding(getdatabaseencoding())))"
        )
        lower = sa.text(f"SELECT lower('\u00c9\u0416' COLLATE pg_catalog.\"{name}\")")
        if (
            connection.scalar(is_known, {"name": name})
            and connection.scalar(lower) == "\u00e9\u0436"
        ):
            return name
    return "default"


def upgrade() -> None:
    """Bring the schema here."""
    op.execute(
        "CREATE FUNCTION todo_backend_fold_case(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT"
        f' PARALLEL SAFE AS $$ SELECT lower($1 COLLATE pg_catalog."{_collation(op.get_bind())}") $$'
    )
    _PRIORITY.create(op.get_bind())
    op.add_column(
        "tasks", sa.Column("priority", _PRIORITY, server_default="medium", nullable=False)
    )
    op.add_column("tasks", sa.Column("due_date", sa.DateTime(timezone=True)))
    op.add_column(
        "tasks",
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
    )


def downgrade() -> None:
    """Take the schema back."""
    for name in ("tags", "due_date", "priority"):
        op.drop_column("tasks", name)
    _PRIORITY.drop(op.get_bind())
    op.execute("DROP FUNCTION todo_backend_fold_case(text)")
