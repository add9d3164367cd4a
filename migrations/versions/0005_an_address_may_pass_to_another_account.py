"""An account may lose its e-mail address to the subject that proves it."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema here."""
    op.alter_column("users", "email", nullable=True)


def downgrade() -> None:
    """Take the schema back. Fails while an account has no address."""
    op.alter_column("users", "email", nullable=False)
