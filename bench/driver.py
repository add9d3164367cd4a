"""psycopg2 alone: the same statement in a loop, one connection and no HTTP."""

import json
import os
import subprocess
import sys
import time
from itertools import cycle
from typing import Any, Final

import psycopg2

_COLUMNS: Final = "id, user_id, title, description, completed, created_at, updated_at"
_STATEMENTS: Final = {
    "list": f"SELECT {_COLUMNS} FROM tasks WHERE user_id = %(user)s ORDER BY id",
    "get": f"SELECT {_COLUMNS} FROM tasks WHERE user_id = %(user)s AND id = %(task)s",
    "create": "INSERT INTO tasks (user_id, title, description, completed)"
    " VALUES (%(user)s, 'Buy milk', 'Two litres, the cold kind', false)"
    f" RETURNING {_COLUMNS}",
    "patch": "UPDATE tasks SET title = 'Buy milk', completed = true, updated_at = now()"
    f" WHERE user_id = %(user)s AND id = %(task)s RETURNING {_COLUMNS}",
}


def run(
    url: str, kind: str, rows: list[tuple[int, int]], seconds: float, cores: frozenset[int]
) -> float:
    """Give the statements a second, in a process on those cores; `rows` are users and tasks."""
    work = json.dumps([url, kind, rows, seconds, sorted(cores)])
    done = subprocess.run(
        (sys.executable, "-m", "bench.driver"),
        input=work,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def loop(url: str, kind: str, rows: list[tuple[int, int]], seconds: float) -> float:
    """Give the statements a second."""
    values: Any = cycle([{"user": user, "task": task} for user, task in rows])
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    done = 0
    started_at = time.perf_counter()
    while (elapsed := time.perf_counter() - started_at) < seconds:
        cursor.execute(_STATEMENTS[kind], next(values))
        cursor.fetchall()
        done += 1
    connection.close()
    return done / elapsed


if __name__ == "__main__":
    *work, cores = json.load(sys.stdin)
    if cores:
        os.sched_setaffinity(0, cores)
    sys.stdout.write(str(loop(*work)))
