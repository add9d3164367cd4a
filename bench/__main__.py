"""`uv run python -m bench`: measure the service beside what else could be built.

Starts all it needs by itself, but for wrk, which makes the load. Writes figures.json, table.md and
chart.svg to bench/results, and takes less than ten minutes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import load, node
from bench.measure import (
    ONE_WAY_SECONDS,
    Bench,
    Figures,
    Size,
    all_at_once,
    measure_memory,
    measure_requests,
    measure_round_trips,
    measure_scale,
    measure_statements,
    measure_storm,
    measure_workers,
)
from bench.proxy import delaying_proxy
from bench.report import chart, machine, table
from bench.stage import CONNECTIONS, UVICORN, Cores, Database, running_issuer
from sandbox.postgres import running_postgres

RESULTS: Final = Path(__file__).with_name("results")
FULL: Final = Size(rounds=5, seconds=2, users=10_000, requests=100_000)
QUICK: Final = Size(rounds=1, seconds=0.2, users=200, requests=200)


def main() -> None:
    """Measure, and write what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="only try whether all of it runs")
    parser.add_argument("--scale", action="store_true", help="only the ten million tasks")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the folder for the figures (bench/results)"
    )
    options = parser.parse_args()
    if not load.is_installed():
        sys.exit(load.MISSING)
    options.results.mkdir(parents=True, exist_ok=True)
    kept = Kept(options.results / "figures.json")
    with _stage(QUICK if options.quick else FULL) as (bench, postgres):
        if options.scale:
            kept.add(_measure_scale(bench, postgres, quick=options.quick))
        else:
            kept.add(_measure(bench, postgres, quick=options.quick))
    if "per_second" in kept.figures:
        (options.results / "table.md").write_text(table(kept.figures))
        (options.results / "chart.svg").write_text(chart(kept.figures))
        print(table(kept.figures))


class Kept:
    """The figures in a file: those of `--scale` stay when the others are measured again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.figures: Figures = json.loads(file.read_text()) if file.exists() else {}

    def add(self, figures: Figures) -> None:
        """Put new figures in the place of the old ones."""
        self.figures |= figures
        self._file.write_text(json.dumps(self.figures, indent=1) + "\n")


@contextmanager
def _stage(size: Size) -> Iterator[tuple[Bench, str]]:
    started_at = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started_at:5.0f} s  {what}", file=sys.stderr, flush=True)

    cores = Cores.split()
    cores.keep_off()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        say("starting PostgreSQL")
        with (
            running_postgres(folder / "postgres", keep=False) as postgres,
            running_issuer(folder) as issuer,
        ):
            yield Bench(folder, cores, issuer, size, say), postgres


def _measure(bench: Bench, postgres: str, *, quick: bool) -> Figures:
    bench.say("filling the tables")
    database = Database(postgres, "bench", bench.size.users, tasks=20)
    figures = {
        "machine": machine(),
        "rounds": bench.size.rounds,
        "seconds": bench.size.seconds,
        "connections": CONNECTIONS,
        "memory_users": bench.size.users,
        "memory_requests": bench.size.requests,
    }
    references: dict[str, tuple[str, ...]] = {
        "tutorial": (*UVICORN, "bench.tutorial:app"),
        "floor": (*UVICORN, "bench.floor:app"),
    }
    if not quick and node.install():
        references["node"] = node.COMMAND
    bench.say(f"starting the service and {', '.join(references)}")
    to_compare = {
        "service": bench.server(database.url),
        **{
            name: bench.server(database.url, of=command, ready="/ready")
            for name, command in references.items()
        },
    }
    with all_at_once(to_compare) as servers:
        # First: what writes leave PostgreSQL to tidy up makes some requests slow by itself.
        figures |= measure_storm(bench, database, servers["service"])
        figures |= measure_requests(bench, database, servers)
        figures |= measure_statements(bench, database, servers["service"])
    bench.say("starting the service anew, in three ways")
    with delaying_proxy(database.socket, ONE_WAY_SECONDS) as port:
        in_ways = {
            "far": bench.server(database.through(port)),
            "one": bench.server(database.url, everywhere=True),
            "two": bench.server(
                database.url, of=(*UVICORN, "main:app", "--workers", "2"), everywhere=True
            ),
        }
        with all_at_once(in_ways) as servers:
            figures |= measure_round_trips(bench, database, servers["far"])
            figures |= measure_workers(bench, database, servers["one"], servers["two"])
            figures |= measure_memory(bench, database, servers["one"])
    return figures


def _measure_scale(bench: Bench, postgres: str, *, quick: bool) -> Figures:
    bench.say("filling the small table")
    small = Database(postgres, "small", users=100, tasks=100)
    bench.say("filling the large table: this takes minutes")
    large = Database(postgres, "large", users=1000 if quick else 100_000, tasks=100)
    databases = {"small": small, "large": large}
    services = {name: bench.server(database.url) for name, database in databases.items()}
    with all_at_once(services) as servers:
        return measure_scale(bench, databases, servers)


if __name__ == "__main__":
    main()
