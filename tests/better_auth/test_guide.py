"""The guide shows what is in the example, and its first section makes an application."""

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.better_auth.browser import browse, running_next
from tests.better_auth.frontend import free_port
from tests.better_auth.toolchain import EXAMPLE, build, run
from tests.conftest import MakeDatabase
from tests.support.programs import need_package
from tests.support.service import make_settings, running_service

pytestmark = pytest.mark.slow

GUIDE = EXAMPLE.parents[1] / "docs" / "front-end.md"
_, FIRST, REST = re.split(r"\n## (?=From an empty|A: )", GUIDE.read_text())
LINK = re.compile(r"\]\(\.\./(examples/nextjs/[^)]*)\)")
BLOCK = re.compile(r"^( *)```tsx?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def snippets() -> list[tuple[list[Path], str]]:
    """Return each piece of the example in the guide, and the files that its section links to."""
    text = REST
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


@pytest.mark.timeout(900)
def test_the_first_section_makes_an_application(
    tmp_path: Path, database_url: str, make_database: MakeDatabase
) -> None:
    build()
    need_package("chromium")
    app, port = tmp_path / "my-app", free_port()
    address, origin = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    # The page's commands with fixed versions, and without style sheets and linter, which take long.
    create, *install = re.findall(r"^np[xm] .*", FIRST, re.MULTILINE)
    assert create == "npx create-next-app@latest my-app --yes"
    options = "--empty --no-tailwind --no-linter --skip-install --disable-git"
    fixed = create.replace("npx create-next-app@latest", "npx --yes create-next-app@16.4.3")
    run(*fixed.split(), *options.split(), cwd=tmp_path)
    package = json.loads((EXAMPLE / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    for line in install:
        words = [f"{word}@{versions[word]}" if word in versions else word for word in line.split()]
        run(*words, "--ignore-scripts", "--no-audit", "--no-fund", cwd=app)
    settings = make_settings(
        database_url,
        f"{address}/api/auth/jwks",
        jwt_issuer=origin,
        jwt_audience=origin,
        cors_origins=(origin,),
    )
    with running_service(settings) as service:
        values = {
            "BETTER_AUTH_URL": origin,
            "DATABASE_URL": make_database(),
            "NEXT_PUBLIC_BACKEND_URL": str(service.base_url).rstrip("/"),
        }
        for name, content in re.findall(
            r"^`([^`]+)`[^\n]*\n\n```\w+\n(.*?)^```$", FIRST, re.DOTALL | re.MULTILINE
        ):
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(content)
        dotenv = app / ".env"
        dotenv.write_text(
            re.sub(
                r"^(\w+)=(.*)$",
                lambda line: f"{line[1]}={values.get(line[1], line[2])}",
                dotenv.read_text(),
                flags=re.MULTILINE,
            )
        )
        assert len((app / "app" / "page.tsx").read_text().splitlines()) <= 40
        run(app / "node_modules" / ".bin" / "next", "build", cwd=app)
        with running_next(app, port, tmp_path / "log", {}):
            assert browse(origin, "guide", tmp_path, {}) == {"errors": [], "violations": []}


def test_the_guide_shows_all_of_the_stock_set_up() -> None:
    shown = GUIDE.read_text()
    for name in (
        *("lib/auth.ts", "lib/auth-client.ts", "lib/auth-neon.ts"),
        *("app/api/auth/[...all]/route.ts", "instrumentation.ts"),
    ):
        code = (EXAMPLE / name).read_text()
        assert re.split(r"(?<=\n)(?=import |export )", code, maxsplit=1)[-1] in shown, name


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
