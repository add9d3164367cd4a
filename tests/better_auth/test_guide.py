"""The guide shows what is tested, to the letter."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.better_auth.toolchain import FOLDER

pytestmark = pytest.mark.slow

GUIDE = FOLDER.parents[1] / "docs" / "front-end.md"
LINK = re.compile(r"\]\(\.\./(tests/better_auth/[^)]*)\)")
BLOCK = re.compile(r"^( *)```tsx?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def snippets() -> list[tuple[Path, str]]:
    """Give each piece of TypeScript in the guide, and the file that was linked to last before."""
    text = GUIDE.read_text()
    return [
        (GUIDE.parents[1] / LINK.findall(text[: block.start()])[-1], block[2])
        for block in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize(
    ("file", "snippet"),
    [pytest.param(*each, id=f"{each[0].name}-{n}") for n, each in enumerate(snippets())],
)
def test_what_the_guide_shows_stands_in_the_file_it_names(file: Path, snippet: str) -> None:
    margin = re.compile(r"^ +", re.MULTILINE)
    assert margin.sub("", dedent(snippet)) in margin.sub("", file.read_text())


def test_the_guide_shows_each_set_up() -> None:
    shown = {file.name for file, _ in snippets()}
    assert {"stock.ts", "backend-ids.ts", "one-password-store.ts", "next.config.ts"} <= shown


def test_every_file_that_the_guide_links_to_is_there() -> None:
    for target in re.findall(r"\]\(\.\./([^)#]*)\)", GUIDE.read_text()):
        assert (GUIDE.parents[1] / target).exists(), target


def test_every_section_that_the_guide_links_to_is_there() -> None:
    text = GUIDE.read_text()
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings
