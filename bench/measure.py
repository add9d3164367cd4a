"""The measurements, one function each; what they give is plain figures, in seconds and counts."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from bench import driver
from bench.load import Outcome, Request, drive, write_requests
from bench.stage import CONNECTIONS, UVICORN, Cores, Database, Server, running
from sandbox.issuer import Issuer
from utils.jwks import KeySet
from utils.tokens import TokenVerifier

KINDS: Final = ("list", "get", "create", "patch")
NEW: Final = '{"title": "Buy milk", "description": "Two litres, the cold kind"}'
CHANGE: Final = '{"title": "Buy milk", "completed": true}'
ONE_WAY_SECONDS: Final = 0.025
STORM_CLIENTS: Final = 8
TIMES: Final = 10
"""How often an endpoint is called while its statements are counted."""
TOKEN_CHECKS: Final = 20_000

Say = Callable[[str], None]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much of it."""

    rounds: int
    seconds: float
    """Of one load."""
    users: int
    requests: int
    """Of the measurement of memory."""


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    folder: Path
    cores: Cores
    issuer: Issuer
    size: Size
    say: Say

    def requests(self, kind: str, database: Database, users: list[int]) -> Path:
        """Write the requests of one kind, one of each user, with new tokens."""

        def request(user: int) -> Request:
            tasks = f"/api/{user}/tasks"
            one = f"{tasks}/{database.task_of(user, number=3)}"
            token = self.issuer.token(user, f"user{user}@example.com")
            match kind:
                case "list":
                    return Request("GET", tasks, token)
                case "get":
                    return Request("GET", one, token)
                case "create":
                    return Request("POST", tasks, token, NEW)
                case _:
                    return Request("PATCH", one, token, CHANGE)

        file = self.folder / f"{kind}-{uuid4().hex}"
        return write_requests(file, map(request, users))

    def sets(self, database: Database, users: list[int]) -> dict[str, Path]:
        """Write the requests of every kind. Those who make tasks are others than those who list."""
        half = len(users) // 2
        return {
            kind: self.requests(kind, database, users[half:] if kind == "create" else users[:half])
            for kind in KINDS
        }

    def server(
        self,
        url: str,
        *,
        of: tuple[str, ...] = (*UVICORN, "main:app"),
        ready: str = "/health/ready",
        everywhere: bool = False,
    ) -> AbstractContextManager[Server]:
        """Run a server, on its one core or everywhere, with the service's own variables."""
        environment = {
            "DATABASE_URL": url,
            "JWKS_URL": f"{self.issuer.address}/api/auth/jwks",
            "JWT_ISSUER": self.issuer.address,
            "JWT_AUDIENCE": self.issuer.address,
            "AUTH_RATE_LIMIT": "1000000/minute",
            "DB_POOL_SIZE": str(CONNECTIONS),
            "MIGRATE_ON_START": "false",
            "NODE_ENV": "production",
        }
        cores = self.cores.server | (self.cores.others if everywhere else frozenset())
        return running(of, ready, environment, cores)


@contextmanager
def all_at_once(
    servers: Mapping[str, AbstractContextManager[Server]],
) -> Iterator[dict[str, Server]]:
    """Run several servers; they start side by side."""
    with ExitStack() as stack, ThreadPoolExecutor(len(servers)) as threads:
        running = threads.map(stack.enter_context, servers.values())
        yield dict(zip(servers, running, strict=True))


def measure_requests(bench: Bench, database: Database, servers: Mapping[str, Server]) -> Figures:
    """Give the requests a second of each server, a list of one figure a round."""
    sets = bench.sets(database, list(range(1, 201)))
    per_second: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in KINDS} for name in (*servers, "driver")
    }
    cpu: list[float] = []
    for server in servers.values():
        for requests in sets.values():
            drive(server.url, requests, bench.size.seconds / 2)
    for turn in range(bench.size.rounds):
        database.tidy()
        for kind, requests in sets.items():
            for name, server in servers.items():
                before = server.cpu_seconds()
                outcome = drive(server.url, requests, bench.size.seconds)
                per_second[name][kind].append(outcome.per_second)
                if (name, kind) == ("service", "list"):
                    cpu.append((server.cpu_seconds() - before) / outcome.requests)
            per_second["driver"][kind].append(_drive_psycopg2(bench, database, kind))
            latest = (f"{name} {each[kind][-1]:,.0f}/s" for name, each in per_second.items())
            bench.say(f"round {turn + 1} of {bench.size.rounds}: {kind:6} {', '.join(latest)}")
    return {
        "per_second": per_second,
        "token_check": {
            "seconds": asyncio.run(_token_check_seconds(bench.issuer)),
            "list_cpu_seconds": statistics.median(cpu),
        },
    }


def _drive_psycopg2(bench: Bench, database: Database, kind: str) -> float:
    return driver.run(
        database.url,
        kind,
        [(user, database.task_of(user, number=3)) for user in range(1, 101)],
        bench.size.seconds,
        bench.cores.server,
    )


async def _token_check_seconds(issuer: Issuer) -> float:
    """Time the check of a token that was seen before."""
    async with httpx.AsyncClient() as client:
        keys = KeySet(f"{issuer.address}/api/auth/jwks", client)
        verifier = TokenVerifier(keys, issuer.address, issuer.address)
        token = issuer.token(1, "user1@example.com")
        await verifier.verify(token)
        started_at = time.thread_time()
        for _ in range(TOKEN_CHECKS):
            await verifier.verify(token)
        spent = time.thread_time() - started_at
        await keys.aclose()
    return spent / TOKEN_CHECKS


def measure_statements(bench: Bench, database: Database, server: Server) -> Figures:
    """Give the statements that PostgreSQL saw of each endpoint, for each request."""
    tasks = "/api/1/tasks"
    one = f"{tasks}/{database.task_of(1, number=3)}"
    new, change = {"title": "Buy milk"}, {"completed": True}
    token = bench.issuer.token(1, "user1@example.com")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        doomed = [client.post(tasks, json=new).json()["id"] for _ in range(TIMES)]
        endpoints: dict[str, Callable[[], httpx.Response]] = {
            "GET tasks": lambda: client.get(tasks),
            "POST tasks": lambda: client.post(tasks, json=new),
            "GET task": lambda: client.get(one),
            "PUT task": lambda: client.put(one, json=new),
            "PATCH task": lambda: client.patch(one, json=change),
            "PATCH complete": lambda: client.patch(f"{one}/complete", json=change),
            "DELETE task": lambda: client.delete(f"{tasks}/{doomed.pop()}"),
        }

        def some_times(call: Callable[[], httpx.Response]) -> None:
            for _ in range(TIMES):
                call().raise_for_status()

        statements = database.logged(
            {name: partial(some_times, call) for name, call in endpoints.items()}
        )
    counts = {name: len(each) / TIMES for name, each in statements.items()}
    bench.say(f"statements: {', '.join(f'{name} {each:g}' for name, each in counts.items())}")
    firsts = {name: each[0] for name, each in statements.items() if each}
    return {"statements": counts, "first_statements": firsts}


def measure_round_trips(bench: Bench, database: Database, server: Server) -> Figures:
    """Give the latency with a database that is far away, in round trips."""
    sets = bench.sets(database, list(range(1, 9)))
    for requests in sets.values():
        drive(server.url, requests, bench.size.seconds, connections=1)
    round_trips = {
        kind: drive(server.url, requests, bench.size.seconds, connections=1).median
        / (2 * ONE_WAY_SECONDS)
        for kind, requests in sets.items()
    }
    each = ", ".join(f"{kind} {each:.2f}" for kind, each in round_trips.items())
    bench.say(f"round trips with 25 ms each way: {each}")
    return {"round_trips": round_trips}


def measure_storm(bench: Bench, database: Database, server: Server) -> Figures:
    """Give the p99 of a list, with and without a storm of sign-ups."""
    idle, stormy, sign_ups = [], [], []
    requests = bench.requests("list", database, list(range(1, 101)))
    drive(server.url, requests, bench.size.seconds)
    with ThreadPoolExecutor(1) as thread:
        for _ in range(bench.size.rounds):
            idle.append(drive(server.url, requests, bench.size.seconds).p99)
            storm = thread.submit(_sign_up, bench, server, bench.size.seconds + 1)
            time.sleep(0.5)
            stormy.append(drive(server.url, requests, bench.size.seconds).p99)
            sign_ups.append(storm.result().per_second)
            # Those whose clients have gone are hashed all the same, and would be in the next round.
            time.sleep(1.5 * STORM_CLIENTS / sign_ups[-1])
            bench.say(
                f"p99 of a list: {idle[-1] * 1000:.1f} ms, in a storm of {sign_ups[-1]:.1f}"
                f" sign-ups/s {stormy[-1] * 1000:.1f} ms"
            )
    return {"storm": {"idle": idle, "storm": stormy, "sign_ups_per_second": sign_ups}}


def _sign_up(bench: Bench, server: Server, seconds: float) -> Outcome:
    storm = uuid4().hex
    requests = write_requests(
        bench.folder / storm,
        (
            Request(
                "POST",
                "/api/auth/signup",
                body=f'{{"email": "{storm}-{each}@example.com", "password": "a long enough one"}}',
            )
            for each in range(1000)
        ),
    )
    return drive(server.url, requests, seconds, connections=STORM_CLIENTS)


def measure_workers(bench: Bench, database: Database, one: Server, two: Server) -> Figures:
    """Give the lists a second of one process and of two, free to use every core."""
    per_second: dict[str, list[float]] = {"one": [], "two": []}
    requests = bench.requests("list", database, list(range(1, 101)))
    drive(two.url, requests, bench.size.seconds)
    for _ in range(bench.size.rounds):
        for name, server in (("one", one), ("two", two)):
            per_second[name].append(drive(server.url, requests, bench.size.seconds).per_second)
        latest = ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in per_second.items())
        bench.say(f"processes: {latest}")
    return {"workers": per_second}


def measure_memory(bench: Bench, database: Database, server: Server) -> Figures:
    """Give the memory of a process, in MB, after so many requests of every user."""
    users = list(range(1, database.users + 1))
    requests = bench.requests("list", database, users)
    done = 0
    sizes = [(done, server.megabytes())]
    while done < bench.size.requests:
        done += drive(server.url, requests, bench.size.seconds * 2, first=done).requests
        sizes.append((done, server.megabytes()))
        bench.say(f"{done:,} requests of {len(users):,} users: {sizes[-1][1]:.0f} MB")
    return {"memory": sizes}


def measure_scale(
    bench: Bench, databases: Mapping[str, Database], servers: Mapping[str, Server]
) -> Figures:
    """Give the seconds that a request takes with few tasks in the table, and with many."""
    seconds: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in KINDS} for name in databases
    }
    # Each as many people, in the large one from all over the table.
    sets = {
        name: bench.sets(database, list(range(1, database.users + 1, database.users // 100)))
        for name, database in databases.items()
    }
    for name, server in servers.items():
        for requests in sets[name].values():
            drive(server.url, requests, bench.size.seconds)
    for turn in range(bench.size.rounds):
        for database in databases.values():
            database.tidy()
        for name, server in servers.items():
            # To tidy the large table is to go through all of it, which puts what these people read
            # out of PostgreSQL's memory: here it comes back.
            drive(server.url, sets[name]["list"], bench.size.seconds / 2)
        for kind in KINDS:
            for name, server in servers.items():
                outcome = drive(server.url, sets[name][kind], bench.size.seconds)
                seconds[name][kind].append(CONNECTIONS / outcome.per_second)
            latest = (f"{name} {each[kind][-1] * 1000:.2f} ms" for name, each in seconds.items())
            bench.say(f"round {turn + 1} of {bench.size.rounds}: {kind:6} {', '.join(latest)}")
    return {
        "scale": seconds,
        "scale_tasks": {name: each.users * each.tasks for name, each in databases.items()},
    }
