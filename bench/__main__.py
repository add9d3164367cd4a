"""Compare the service with the same endpoints written in other ways: `uv run python -m bench`.

Writes figures.json, table.md and chart.svg to bench/results; takes less than ten minutes. With
--plans it only prints how PostgreSQL reads a long list, for each sort; wrk is not needed for that.
"""

import argparse
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from bench import measure
from bench.environment import Database, Environment, running_environment, running_server
from bench.load import CONNECTIONS, exit_without_wrk
from bench.measure import Size
from bench.partitions import APP, PARTITIONS, partition, print_pruning
from bench.plans import print_plans
from bench.report import Row, Speeds, compare, describe_machine, draw_chart, make_table

RESULTS: Final = Path(__file__).with_name("results")
FULL: Final = Size(rounds=5, seconds=2, users=10_000, requests=100_000)
QUICK: Final = Size(rounds=1, seconds=1, users=200, requests=200)
TASKS_PER_USER: Final = 20

logger = logging.getLogger(__name__)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    parser.add_argument("--scale", action="store_true", help="only the table of ten million tasks")
    parser.add_argument("--plans", action="store_true", help="only the plans of long lists")
    parser.add_argument("--partitions", action="store_true", help="only a partitioned table")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    if options.plans:
        with running_environment() as env:
            print_plans(env, tasks=20_000 if options.quick else 100_000)
        return
    exit_without_wrk()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for library in ("httpx", "alembic", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)

    size = QUICK if options.quick else FULL
    file = options.results / "figures.json"
    figures: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"rows": {}}
    with running_environment() as env:
        if options.scale or options.partitions:
            rows = measure_scale(env, size, is_partitioned=options.partitions)
        else:
            speeds, rows = measure_all(env, size)
            figures |= {
                "machine": describe_machine(),
                "method": f"one process on one core, {CONNECTIONS} connections,"
                f" {TASKS_PER_USER} tasks a user, medians of {size.rounds} interleaved rounds",
                "speeds": speeds,
            }
    figures["rows"] |= {row.title: asdict(row) for row in rows}

    options.results.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n")
    if "speeds" in figures:
        (options.results / "table.md").write_text(make_table(figures))
        draw_chart(figures["speeds"], options.results / "chart.svg")
        print(make_table(figures))


def measure_all(env: Environment, size: Size) -> tuple[dict[str, Speeds], list[Row]]:
    """Return the speeds, and the rows of everything but the large table."""
    logger.info("filling the tables")
    database = Database(env, "bench", size.users, TASKS_PER_USER)
    with (
        running_server(database) as service,
        running_server(database, "bench.tutorial:app", http="auto") as tutorial,
        running_server(database, "bench.floor:app", http="auto") as floor,
    ):
        # Sign-ups come first: after many writes PostgreSQL's own work makes some requests slow.
        sign_ups = measure.measure_sign_ups(service, size)
        servers = {"service": service, "tutorial": tutorial, "floor": floor}
        speeds = measure.measure_speeds(servers, size)
        token_check = measure.measure_token_check(service, size)
    database_use = measure.measure_database_use(database, size)
    with running_server(database) as service:
        memory = measure.measure_memory(service, size)
        long_list = measure.measure_long_list(service, size)
    return speeds, [*compare(speeds), token_check, *database_use, sign_ups, memory, *long_list]


def measure_scale(env: Environment, size: Size, *, is_partitioned: bool) -> list[Row]:
    """Return the row of the large table, which may be a partitioned one."""
    logger.info("filling the tables: this takes minutes")
    small = Database(env, "small", 100, tasks=100)
    prepare = {"prepare": partition} if is_partitioned else {}
    large = Database(env, "large", 10 * size.users, tasks=100, **prepare)
    if is_partitioned:
        print_pruning(large)
    app = APP if is_partitioned else "main:app"
    with running_server(small) as few, running_server(large, app) as many:
        row = measure.measure_scale(few, many, size)
        measure.print_growth(many)
    return (
        [replace(row, title=f"{row.title}, in {PARTITIONS} partitions")]
        if is_partitioned
        else [row]
    )


if __name__ == "__main__":
    main()
