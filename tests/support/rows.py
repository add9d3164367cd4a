"""Many tasks at once, past the service."""

from tests.support.database import execute

INSERT = """
INSERT INTO tasks (user_id, title, description, completed, created_at, updated_at)
SELECT %s, 'task ' || lpad(n::text, 6, '0'), repeat('x', %s), n %% 2 = 0,
    now() + n * interval '1 second', now() - n * interval '1 second'
FROM generate_series(1, %s) AS n
"""


def insert_tasks(database_url: str, user_id: int, count: int, *, description: int = 0) -> None:
    """Insert tasks of a user: titled and created in ascending order, updated in descending order.

    Every second one is completed; `description` is the number of its characters.
    """
    execute(database_url, INSERT, user_id, description, count)
