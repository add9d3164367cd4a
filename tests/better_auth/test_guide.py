"""The guide shows what is in the example, and its first section makes an application."""

import json
import re
from pathlib import Path

import pytest

from tests.better_auth.browser import browse, running_next
from tests.better_auth.frontend import settings_behind
from tests.better_auth.toolchain import EXAMPLE, build
from tests.conftest import MakeDatabase
from tests.support.process import ROOT
from tests.support.programs import free_port, need_package, run
from tests.support.service import running_service

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "front-end.md").read_text()
_, FIRST, REST = re.split(r"\n## (?=From an empty|A: )", GUIDE)


def without_margin(text: str) -> str:
    return re.sub(r"^ +", "", text, flags=re.MULTILINE)


def test_what_the_guide_shows_is_in_a_file_it_links_to() -> None:
    links = re.findall(r"\]\(\.\./(examples/nextjs/[^)]*\.tsx?)\)", REST)
    files = [without_margin((ROOT / link).read_text()) for link in links]
    for snippet in re.findall(r"^ *```tsx?\n(.*?)^ *```$", REST, re.DOTALL | re.MULTILINE):
        assert any(without_margin(snippet) in file for file in files), snippet


@pytest.mark.timeout(900)
def test_the_first_section_makes_an_application(
    tmp_path: Path, database_url: str, make_database: MakeDatabase
) -> None:
    build()
    need_package("chromium")
    app, port = tmp_path / "my-app", free_port()
    origin = f"http://localhost:{port}"
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
    jwks_url = f"http://127.0.0.1:{port}/api/auth/jwks"
    with running_service(settings_behind(jwks_url, origin, database_url)) as service:
        for name, content in re.findall(
            r"^`([^`]+)`[^\n]*\n\n```\w+\n(.*?)^```$", FIRST, re.DOTALL | re.MULTILINE
        ):
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(content)
        # Of several lines with a name the last one counts.
        with (app / ".env").open("a") as dotenv:
            dotenv.write(f"BETTER_AUTH_URL={origin}\nDATABASE_URL={make_database()}\n")
            dotenv.write(f"NEXT_PUBLIC_BACKEND_URL={str(service.base_url).rstrip('/')}\n")
        assert len((app / "app" / "page.tsx").read_text().splitlines()) <= 40
        run(app / "node_modules" / ".bin" / "next", "build", cwd=app)
        with running_next(app, port, {}):
            browse(origin, "guide", tmp_path, {})
