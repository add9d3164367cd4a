"""A look, or a hand, into a database behind the service's back."""

from typing import Any

import psycopg2


def execute(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement and give its rows, if it has any."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
