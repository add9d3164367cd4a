"""A TypeScript client that is generated from what the service says of itself."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.better_auth.frontend import Stack
from tests.better_auth.toolchain import BIN, FOLDER, run

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give an empty folder from which Node finds the packages."""
    folder = FOLDER / "build" / f"client-{uuid4().hex}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_a_generated_client_compiles_under_strict_and_minds_tasks(
    stock: Stack, folder: Path
) -> None:
    (folder / "openapi.json").write_text(stock.service.get("/openapi.json").text)
    run(
        *(BIN / "openapi-typescript", "openapi.json", "--output", "schema.ts"),
        # A member that has a default may be left out of what is sent.
        "--default-non-nullable=false",
        cwd=folder,
    )
    shutil.copy(FOLDER / "client" / "client.ts", folder)
    (folder / "tsconfig.json").write_text(
        '{"extends": "../../tsconfig.server.json", "include": [], "files": ["client.ts"]}'
    )
    run(
        *(BIN / "tsc", "--project", "tsconfig.json", "--outDir", "."),
        *("--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"),
        cwd=folder,
    )

    visitor = stock.front_end.signed_up()
    address = str(stock.service.base_url)
    printed = run("node", "client.js", address, visitor.token(), cwd=folder)

    assert json.loads(printed) == {
        "listed": ["Buy milk"],
        "replaced": None,
        "updated": "The cold kind",
        "completed": True,
        "turned": False,
        "refused": ["title"],
        "removed": 204,
        "missed": 404,
    }
