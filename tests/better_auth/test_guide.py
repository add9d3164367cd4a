"""The guide shows what is in the example, to the letter."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.better_auth.toolchain import EXAMPLE

pytestmark = pytest.mark.slow

GUIDE = EXAMPLE.parents[1] / "docs" / "front-end.md"
LINK = re.compile(r"\]\(\.\./(examples/nextjs/[^)]*)\)")
BLOCK = re.compile(r"^( *)```tsx?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def snippets() -> list[tuple[list[Path], str]]:
    """Return each piece of TypeScript in the guide, and the files that its section links to."""
    text = GUIDE.read_text()
    return [
        (
            [
                GUIDE.parents[1] / link
                for link in LINK.findall(text[: block.start()].rpartition("\n## ")[2])
            ],
            block[2],
        )
        for block in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize(
    ("files", "snippet"),
    [pytest.param(*each, id=str(n)) for n, each in enumerate(snippets())],
)
def test_what_the_guide_shows_is_in_a_file_it_links_to(files: list[Path], snippet: str) -> None:
    margin = re.compile(r"^ +", re.MULTILINE)
    shown = margin.sub("", dedent(snippet))
    assert any(
        shown in margin.sub("", file.read_text())
        for file in files
        if file.suffix in {".ts", ".tsx"}
    )


def test_the_guide_shows_all_of_the_stock_set_up() -> None:
    shown = {snippet for _, snippet in snippets()}
    for name in ("lib/auth.ts", "lib/auth-client.ts", "app/api/auth/[...all]/route.ts"):
        code = (EXAMPLE / name).read_text()
        assert code[code.index("import ") :] in shown


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
