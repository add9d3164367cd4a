"""Tests that the README, and what else people copy from, says what is so."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from uvicorn import Config

from core.http_protocol import LimitedHttpProtocol
from core.settings import Settings
from tests.support.operations import OPERATIONS

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])


def test_the_table_of_variables_and_the_example_are_those_of_the_settings() -> None:
    names = re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]*?)`? \|", README, re.MULTILINE)
    example = re.findall(r"^#?([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    assert [name for name, _ in names] == example
    assert [name.lower() for name in example] == list(Settings.model_fields)
    for name, default in names:
        field = Settings.model_fields[name.lower()]
        expected = "required" if field.is_required() else field.default
        if isinstance(expected, tuple):
            expected = ",".join(expected)
        if isinstance(expected, SecretStr):
            expected = expected.get_secret_value()
        assert default == str(expected).replace("True", "true").replace("False", "false"), name


def test_the_table_of_endpoints_is_that_of_the_api() -> None:
    rows = re.findall(r"^\| (`(?:GET|POST|PUT|PATCH|DELETE) .*?) \|", README, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(.*?)(?:\?.*?)?`", row)} == {
        str(each) for each in OPERATIONS
    }


def test_nginx_ends_idle_connections_before_the_service_does() -> None:
    nginx = (PROJECT / "docs/nginx.conf").read_text()
    ((seconds,),) = [re.findall(r"^ *keepalive_timeout (\d+)s;", nginx, re.MULTILINE)]
    assert int(seconds) < LimitedHttpProtocol.linger_seconds < Config("main:app").timeout_keep_alive


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, section in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not section or section in sections(linked), section


def sections(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
