"""A TypeScript client that is generated from the service's OpenAPI document."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.better_auth.frontend import Stack
from tests.better_auth.toolchain import BIN, EXAMPLE, FOLDER, run

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return an empty folder from which Node finds the packages."""
    folder = FOLDER / "build" / f"client-{uuid4().hex}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_the_generated_types_are_current_and_compile_under_strict(
    stock: Stack, folder: Path
) -> None:
    # What `npm run generate` does in the example.
    (folder / "openapi.json").write_text(stock.service.get("/openapi.json").text)
    run(
        *(BIN / "openapi-typescript", folder / "openapi.json"),
        *("--output", folder / "schema.ts", "--default-non-nullable=false"),
    )
    assert (folder / "schema.ts").read_text() == (EXAMPLE / "lib" / "schema.ts").read_text(), (
        "The API has changed: npm run generate in examples/nextjs, with the service running"
    )

    shutil.copy(FOLDER / "client" / "client.ts", folder)
    (folder / "tsconfig.json").write_text(
        '{"extends": "../../tsconfig.json", "include": [], "files": ["client.ts"]}'
    )
    run(
        *(BIN / "tsc", "--project", folder / "tsconfig.json"),
        *("--outDir", folder, "--rootDir", folder, "--exactOptionalPropertyTypes"),
    )

    visitor = stock.front_end.signed_up()
    address = str(stock.service.base_url)
    printed = run("node", folder / "client.js", address, visitor.token())

    assert json.loads(printed) == {
        "listed": ["Buy milk"],
        "replaced": "Two litres",
        "updated": "The cold kind",
        "completed": True,
        "turned": False,
        "refused": ["title"],
        "removed": 204,
        "missed": 404,
    }
