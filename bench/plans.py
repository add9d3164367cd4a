"""How PostgreSQL reads the pages of a long list, for every sort of `models.task.SORTS`."""

import asyncio
import re
import time
from statistics import median
from typing import Final

from bench.environment import Database, Environment
from core.database import Session, make_engine
from models.task import SORTS, list_tasks

OWNER: Final = 1
LIMIT: Final = 500
REPEATS: Final = 25
CREATES: Final = 2000

# One user with many tasks, among others who have as many in all. Nothing is in the order of ids.
FILL: Final = """
UPDATE tasks SET
    user_id = CASE WHEN id <= %(tasks)s THEN %(owner)s ELSE %(owner)s + 1 + id %% 19 END,
    title = md5(id::text),
    created_at = now() - random() * interval '1 year',
    updated_at = now() - random() * interval '1 year',
    priority = (enum_range(NULL::task_priority))[1 + id %% 5],
    due_date = CASE WHEN id %% 2 = 0 THEN now() + random() * interval '1 year' END;
"""
CREATE: Final = (
    "INSERT INTO tasks (user_id, title, completed) VALUES (%(owner)s, md5(random()::text), false)"
)


def print_plans(env: Environment, tasks: int) -> None:
    """Print a table of the first and the last page of each list, and the cost of the indexes."""
    database = Database(env, "plans", users=20, tasks=tasks // 10)
    database.execute(FILL, owner=OWNER, tasks=tasks)
    database.execute("VACUUM ANALYZE")
    database.execute("ALTER DATABASE plans SET log_statement = 'all'")
    print(f"Pages of {LIMIT} of {tasks:,} tasks: the shortest of {REPEATS} times.\n")
    print("| sort | order | page | ms | buffers | scan |")
    print("|---|---|---|---:|---:|---|")
    for sort in SORTS:
        for order in ("asc", "desc"):
            first, last = asyncio.run(read_pages(database, sort, is_descending=order == "desc"))
            for name, statement in (("first", first), ("last", last)):
                print(f"| {sort} | {order} | {name} | {explain(database, statement)} |")
    database.execute("ALTER DATABASE plans RESET log_statement")

    before = measure_create(database)
    indexes = database.drop_indexes()
    without = measure_create(database)
    database.execute(";".join(indexes))
    after = measure_create(database)
    print(
        f"\nAn INSERT takes {before * 1e6:.0f} and {after * 1e6:.0f} µs with the {len(indexes)}"
        f" indexes, {without * 1e6:.0f} µs with the primary key alone."
    )


async def read_pages(database: Database, sort: str, *, is_descending: bool) -> tuple[str, str]:
    """Read a list page by page, and return the statements of the first and the last page."""
    engine = make_engine(database.url(), 1)
    page = None
    try:
        with database.logged_statements() as statements:
            async with Session(engine) as session:
                while page is None or page.next is not None:
                    after = page.next if page else None
                    page = await list_tasks(
                        session,
                        OWNER,
                        {},
                        sort=sort,
                        is_descending=is_descending,
                        after=after,
                        limit=LIMIT,
                    )
    finally:
        await engine.dispose()
    sent = [each for each in statements if "FROM tasks" in each]
    return sent[0], sent[-1]


def explain(database: Database, statement: str) -> str:
    """Return the time, the buffers and the scan of a statement as cells of the table."""
    times = []
    for _ in range(REPEATS):
        escaped = statement.replace("%", "%%")
        plan = [line for (line,) in database.execute(f"EXPLAIN (ANALYZE, BUFFERS) {escaped}")]
        times.append(float(re.findall(r"Execution Time: ([0-9.]+)", plan[-1])[0]))
    buffers = next(line for line in plan if "Buffers:" in line)
    (scan,) = re.findall(r"((?:\w+ )+Scan[\w ]*) on tasks\b", "\n".join(plan))
    pages = sum(map(int, re.findall(r"(?:hit|read)=([0-9]+)", buffers)))
    return f"{min(times):.2f} | {pages} | {scan}"


def measure_create(database: Database) -> float:
    """Return the median time of an INSERT in a transaction of its own, in seconds."""
    times = []
    with database.cursor() as cursor:
        # The indexes are measured, not the disk.
        cursor.execute("SET synchronous_commit = off")
        for _ in range(CREATES):
            started_at = time.perf_counter()
            cursor.execute(CREATE, {"owner": OWNER})
            times.append(time.perf_counter() - started_at)
    return median(times)
