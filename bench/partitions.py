"""The service on a table of tasks that is partitioned by hash of `user_id`.

Shows by PostgreSQL's plans that each statement of the service reads one partition.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import httpx

from bench.environment import NEW_TASK, TASK, TASKS, Database, running_server
from models.task import SORTS

PARTITIONS: Final = 16
APP: Final = "bench.partitioned:app"
USER: Final = 7
JSON: Final = {"Content-Type": "application/json"}


def partition(database: Database) -> None:
    """Replace the empty table of tasks by a partitioned one with the same columns and indexes.

    A unique index must contain the partition key: `user_id` becomes part of the primary key.
    """
    indexes = database.drop_indexes()
    database.execute(
        "CREATE TABLE partitioned (LIKE tasks INCLUDING ALL EXCLUDING INDEXES)"
        " PARTITION BY HASH (user_id);"
        "DROP TABLE tasks;"
        "ALTER TABLE partitioned RENAME TO tasks;"
        "ALTER TABLE tasks ADD PRIMARY KEY (user_id, id),"
        " ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;"
        + "".join(
            f"CREATE TABLE tasks_p{number} PARTITION OF tasks"
            f" FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number});"
            for number in range(PARTITIONS)
        )
        + ";".join(indexes)
    )


def print_pruning(database: Database) -> None:
    """Send each kind of request, and print how many partitions its statements read.

    Raises RuntimeError if one reads more than one.
    """
    name = database.execute("SELECT current_database()")[0][0]
    database.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
    print("| request | statements on tasks | partitions |\n|---|---:|---:|")
    headers = {"Authorization": f"Bearer {database.token(USER)}"}
    with (
        running_server(database, APP) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=60) as client,
    ):
        for request, call in _requests(client).items():
            with database.logged_statements() as statements:
                call().raise_for_status()
            sent = [each for each in statements if re.search(r"\btasks\b", each)]
            partitions = [_partitions(database, each) for each in sent]
            print(f"| {request} | {len(sent)} | {', '.join(map(str, partitions))} |")
            if not sent or max(partitions) > 1:
                raise RuntimeError(f"{request}: {sent}")
    database.execute(f"ALTER DATABASE {name} RESET log_statement")


def _requests(client: httpx.Client) -> dict[str, Callable[[], httpx.Response]]:
    tasks = TASKS.format(user="me")
    ids = [client.post(tasks, content=NEW_TASK, headers=JSON).json()["id"] for _ in range(2)]
    task = TASK.format(user="me", task=ids[0])

    def read_page(sort: str, order: str) -> httpx.Response:
        params = {"sort": sort, "order": order, "limit": "3"}
        return client.get(client.get(tasks, params=params).links["next"]["url"])

    def create(key: str) -> httpx.Response:
        return client.post(tasks, content=NEW_TASK, headers={**JSON, "Idempotency-Key": key})

    return {
        "list": lambda: client.get(tasks),
        "list, search": lambda: client.get(tasks, params={"search": "milk", "status": "pending"}),
        **{
            f"list, two pages by {sort} {order}": partial(read_page, sort, order)
            for sort in SORTS
            for order in ("asc", "desc")
        },
        "create": lambda: client.post(tasks, content=NEW_TASK, headers=JSON),
        "create, with a key": lambda: create("one"),
        "create, with the key again": lambda: create("one"),
        "read": lambda: client.get(task),
        "replace": lambda: client.put(task, json={"title": "Buy bread"}),
        "change": lambda: client.patch(task, json={"completed": True}),
        "toggle": lambda: client.patch(f"{task}/complete"),
        "delete": lambda: client.delete(f"{tasks}/{ids[1]}"),
        "change all": lambda: client.patch(tasks, json={"completed": True}),
        "delete all": lambda: client.delete(
            tasks, params={"status": "completed", "search": "bread"}
        ),
        "export": lambda: client.get("/api/auth/me/export"),
    }


def _partitions(database: Database, statement: str) -> int:
    """Return how many partitions the plan reads; 0 is an INSERT, which chooses one by its row."""
    plan = database.execute(f"EXPLAIN {statement.replace('%', '%%')}")
    return len({name for (line,) in plan for name in re.findall(r"\bon (tasks_p\d+)\b", line)})
