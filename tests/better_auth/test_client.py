"""The TypeScript types that are generated from the service's OpenAPI document."""

from pathlib import Path

import httpx
import pytest

from tests.better_auth.toolchain import BIN, EXAMPLE, build
from tests.support.programs import run

pytestmark = pytest.mark.slow


def test_the_generated_types_are_current_and_as_strict_as_they_can_be(
    client: httpx.Client, tmp_path: Path
) -> None:
    # This compiles types.ts.
    build()
    # What `npm run generate` does in the example.
    document, types = tmp_path / "openapi.json", tmp_path / "schema.ts"
    document.write_text(client.get("/openapi.json").text)
    options = ("--output", types, "--default-non-nullable=false")
    run(BIN / "openapi-typescript", document, *options, cwd=EXAMPLE)
    assert types.read_text() == (EXAMPLE / "lib" / "schema.ts").read_text(), (
        "The API has changed: npm run generate in examples/nextjs, with the service running"
    )
