"""The measurements: each is one function and returns rows of the table."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Final
from uuid import uuid4

import httpx

from bench.environment import REQUESTS, TASK, TASKS, Database, Server, running_server
from bench.load import Request
from bench.proxy import delaying_proxy
from bench.report import Row, Speeds
from utils.jwks import KeySet
from utils.tokens import TokenVerifier

ONE_WAY_SECONDS: Final = 0.025
SIGN_UP_CLIENTS: Final = 8
TOKEN_CHECKS: Final = 20_000
CALLS: Final = 10
"""Calls of each endpoint while its statements are counted."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """How much is measured; `seconds` is the duration of one load."""

    rounds: int
    seconds: int
    users: int
    requests: int


def make_requests(database: Database) -> dict[str, list[Request]]:
    """Return requests of each kind for 50 users; those who create tasks are other users."""
    users = range(1, database.users + 1, database.users // 100)
    return {
        kind: database.requests(kind, users[50:100] if kind == "create" else users[:50])
        for kind in REQUESTS
    }


def measure_speeds(servers: Mapping[str, Server], size: Size) -> dict[str, Speeds]:
    """Return the requests per second of each server and kind: medians of interleaved rounds."""
    requests = {name: make_requests(server.database) for name, server in servers.items()}
    samples: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in REQUESTS} for name in servers
    }
    for number in range(1, size.rounds + 1):
        for database in {server.database for server in servers.values()}:
            database.reset()
        for name, server in servers.items():
            # VACUUM read the whole table, and may have displaced these users' rows from memory.
            server.drive(requests[name]["list"], seconds=1)
        for kind in REQUESTS:
            for name, server in servers.items():
                outcome = server.drive(requests[name][kind], size.seconds)
                samples[name][kind].append(outcome.per_second)
            latest = [f"{name} {each[kind][-1]:,.0f}/s" for name, each in samples.items()]
            logger.info("round %d of %d: %s: %s", number, size.rounds, kind, ", ".join(latest))
    return {
        name: {kind: median(values) for kind, values in each.items()}
        for name, each in samples.items()
    }


def measure_scale(small: Server, large: Server, size: Size) -> Row:
    """Compare the time of a request to a small and to a large table."""
    speeds = measure_speeds({"small": small, "large": large}, size)
    ratios = {kind: speeds["small"][kind] / speeds["large"][kind] for kind in REQUESTS}
    few, many = small.database.tasks, large.database.tasks
    return Row(
        "time of a request with ten million tasks in the table, against ten thousand",
        "under 1.2 x",
        ", ".join(f"{kind} {ratio:.2f} x" for kind, ratio in ratios.items())
        + f" ({many:,} against {few:,})",
        met=max(ratios.values()) < 1.2,
    )


def print_growth(server: Server) -> None:
    """Print what a task takes on disk, and a create in PostgreSQL's journal (WAL)."""
    database = server.database
    ((table, indexes),) = database.execute(
        "SELECT sum(pg_table_size(oid)), sum(pg_indexes_size(oid)) FROM pg_class"
        # The tree of a table without partitions is empty.
        " WHERE oid = 'tasks'::regclass OR oid IN (SELECT relid FROM pg_partition_tree('tasks'))"
    )
    creates = make_requests(database)["create"]
    # The first change of a page after a checkpoint writes all of it.
    server.drive(creates, seconds=2)
    ((start,),) = database.execute("SELECT pg_current_wal_insert_lsn()::text")
    count = server.drive(creates, seconds=5).requests
    ((wal,),) = database.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %(start)s::pg_lsn)", start=start
    )
    print(
        f"Bytes of a task: {table / database.tasks:.0f} in the table,"
        f" {indexes / database.tasks:.0f} in indexes; of a create in the WAL: {wal / count:.0f}."
    )


def measure_token_check(server: Server, size: Size) -> Row:
    """Compare the check of a token that was verified before with a list request."""

    async def check_repeatedly() -> float:
        address = server.database.env.issuer.address
        async with httpx.AsyncClient() as client:
            keys = KeySet(f"{address}/api/auth/jwks", client)
            verifier = TokenVerifier(keys, address, (address,))
            token = server.database.token(1)
            await verifier.verify(token)
            start = time.thread_time()
            for _ in range(TOKEN_CHECKS):
                await verifier.verify(token)
            seconds = time.thread_time() - start
            await keys.aclose()
        return seconds / TOKEN_CHECKS

    check = asyncio.run(check_repeatedly())
    start = server.cpu_seconds()
    requests = server.drive(server.database.requests("list"), size.seconds).requests
    request = (server.cpu_seconds() - start) / requests
    return Row(
        "check of a token that was verified before",
        "under 5 % of a list request",
        f"{check / request:.1%} ({check * 1e6:.1f} of {request * 1e6:.0f} µs of processor time)",
        met=check / request < 0.05,
    )


def measure_database_use(database: Database, size: Size) -> list[Row]:
    """Count statements in PostgreSQL's log, and round trips to a database that is far away."""
    with (
        delaying_proxy(database.socket, ONE_WAY_SECONDS) as port,
        running_server(database, database_url=database.url(port)) as server,
    ):
        counts = _count_statements(server)
        # Of few users: the first request of each one reads the account too.
        requests = {kind: each[:4] for kind, each in make_requests(database).items()}
        round_trips = {
            kind: server.drive(requests[kind], size.seconds, connections=1).median
            / (2 * ONE_WAY_SECONDS)
            for kind in REQUESTS
        }
    return [
        Row(
            "statements for each task endpoint",
            "1, without BEGIN and ping",
            ", ".join(f"{name} {count:g}" for name, count in counts.items()),
            met=set(counts.values()) == {1},
        ),
        Row(
            "latency of a request to a database 50 ms away",
            "under 1.15 round trips",
            ", ".join(f"{kind} {count:.2f}" for kind, count in round_trips.items()),
            met=max(round_trips.values()) < 1.15,
        ),
    ]


def _count_statements(server: Server) -> dict[str, float]:
    database = server.database
    headers = {"Authorization": f"Bearer {database.token(1)}"}
    new, changes, counts = {"title": "Buy milk"}, {"completed": True}, {}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        tasks = TASKS.format(user=1)
        ids = [client.post(tasks, json=new).json()["id"] for _ in range(CALLS + 1)]
        task = TASK.format(user=1, task=ids.pop())
        endpoints: dict[str, Callable[[], httpx.Response]] = {
            "list": lambda: client.get(tasks),
            "create": lambda: client.post(tasks, json=new),
            "get": lambda: client.get(task),
            "put": lambda: client.put(task, json=new),
            "patch": lambda: client.patch(task, json=changes),
            "complete": lambda: client.patch(f"{task}/complete", json=changes),
            "delete": lambda: client.delete(f"{tasks}/{ids.pop()}"),
        }
        for name, call in endpoints.items():
            with database.logged_statements() as statements:
                for _ in range(CALLS):
                    call().raise_for_status()
            counts[name] = len(statements) / CALLS
            logger.info("%s: %g statements: %s", name, counts[name], statements[:1])
    return counts


def measure_sign_ups(server: Server, size: Size) -> Row:
    """Compare the p99 of lists with and without many sign-ups at the same time."""

    def sign_up() -> float:
        name = uuid4().hex
        body = '{"email": "%s-%d@example.com", "password": "a long enough one"}'
        requests = [Request("POST", "/api/auth/signup", "", body % (name, n)) for n in range(1000)]
        rate = server.drive(requests, size.seconds + 2, SIGN_UP_CLIENTS).per_second
        # The passwords of clients that disconnected are still being hashed.
        time.sleep(1.5 * SIGN_UP_CLIENTS / rate)
        return rate

    row, rates = _compare_p99(server, size, f"{SIGN_UP_CLIENTS} clients sign up", sign_up)
    logger.info("sign-ups per second: %s", rates)
    return row


def measure_long_list(server: Server, size: Size) -> list[Row]:
    """Read a very long list, and measure the service's memory and other users' latency."""
    database = server.database
    user, count = database.users, database.tasks // 2
    database.execute("UPDATE tasks SET user_id = %(user)s WHERE id <= %(n)s", user=user, n=count)
    database.execute("VACUUM ANALYZE")

    def read_repeatedly() -> float:
        """Return the largest memory of the service."""
        peak = 0.0
        deadline = time.monotonic() + size.seconds + 1
        headers = {"Authorization": f"Bearer {database.token(user)}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            while time.monotonic() < deadline:
                with client.stream("GET", TASKS.format(user=user)) as response:
                    response.raise_for_status()
                    for _ in response.iter_raw():
                        peak = max(peak, server.megabytes())
        return peak

    action = f"one client reads {count:,} tasks"
    server.drive(database.requests("list"), seconds=1)
    before = server.megabytes()
    latency, peaks = _compare_p99(server, size, action, read_repeatedly)
    growth = max(peaks) - before
    title, target = f"memory while {action}", "grows by less than 30 MB"
    memory = Row(title, target, f"{growth:+.0f} MB (from {before:.0f} MB)", met=growth < 30)
    return [memory, latency]


def _compare_p99(
    server: Server, size: Size, action: str, run: Callable[[], float]
) -> tuple[Row, list[float]]:
    """Compare the p99 of lists with and without an action; returns the action's results too."""
    requests = server.database.requests("list")
    idle, busy, results = [], [], []
    server.drive(requests, seconds=1)
    for _ in range(size.rounds):
        idle.append(server.drive(requests, size.seconds).p99)
        with ThreadPoolExecutor(1) as executor:
            running = executor.submit(run)
            time.sleep(0.5)
            busy.append(server.drive(requests, size.seconds).p99)
            results.append(running.result())
        logger.info("p99: %.1f ms, while %s %.1f", idle[-1] * 1000, action, busy[-1] * 1000)
    before, during = median(idle) * 1000, median(busy) * 1000
    measured = f"{during / before:.2f} x ({during:.1f} against {before:.1f} ms)"
    row = Row(f"p99 of lists while {action}", "under 3 x", measured, met=during / before < 3)
    return row, results


def measure_memory(server: Server, size: Size) -> Row:
    """Measure memory while all users send requests."""
    requests = server.database.requests("list", range(1, size.users + 1))
    done, samples = 0, []
    while done < size.requests:
        done += server.drive(requests, 5 * size.seconds).requests
        samples.append((done, server.megabytes()))
        logger.info("%d requests: %.0f MB", done, server.megabytes())
    last = samples[-1][1]
    growth = last / next(memory for count, memory in samples if count >= done / 2) - 1
    return Row(
        f"memory after {size.requests:,} requests of {size.users:,} users",
        "under 150 MB and stable",
        f"{last:.0f} MB ({growth:+.1%} in the second half)",
        met=last < 150 and growth < 0.02,
    )
