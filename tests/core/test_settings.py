"""Tests of the settings: what is read from where, what is refused, and how that is said."""

import importlib
from pathlib import Path

import pytest
from pydantic import ValidationError

import main
from core.settings import ConfigurationError, Settings, load_settings
from tests.support.process import failed_start

GOOD = {
    "DATABASE_URL": "postgresql://me:top-secret@localhost:5432/todo",
    "JWKS_URL": "https://app.example.com/api/auth/jwks",
    "JWT_ISSUER": "https://app.example.com",
    "JWT_AUDIENCE": "https://api.example.com",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with none of the variables set."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set the variables that are required."""
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def faults() -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    *lines, hint = str(caught.value).splitlines()
    assert "sandbox" in hint
    return lines


@pytest.mark.usefixtures("environment")
def test_four_variables_are_enough() -> None:
    settings = load_settings()
    assert settings.database_url.get_secret_value() == GOOD["DATABASE_URL"]
    assert settings.rate_limit_storage_url.get_secret_value() == "memory://"
    assert settings.model_dump(exclude={"database_url", "rate_limit_storage_url"}) == {
        "jwks_url": GOOD["JWKS_URL"],
        "jwt_issuer": GOOD["JWT_ISSUER"],
        "jwt_audience": GOOD["JWT_AUDIENCE"],
        "cors_origins": ("http://localhost:3000",),
        "auth_rate_limit": "60/minute",
        "db_pool_size": 10,
        "migrate_on_start": True,
        "log_format": "text",
    }


def test_every_variable_that_is_missing_has_its_line() -> None:
    lines = faults()
    assert [line.partition(":")[0] for line in lines] == list(GOOD)
    for line in lines:
        assert ": missing; expected " in line


def test_an_empty_variable_counts_as_missing(environment: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        environment.setenv(name, "")
    environment.setenv("DB_POOL_SIZE", "")
    assert [line.partition(";")[0] for line in faults()] == [f"{name}: missing" for name in GOOD]


def test_a_dotenv_file_is_read_and_the_environment_wins(
    environment: pytest.MonkeyPatch, folder: Path
) -> None:
    environment.delenv("JWT_ISSUER")
    (folder / ".env").write_text(
        "# a comment\nJWT_ISSUER='https://of-the-file.example'\nJWT_AUDIENCE=of-the-file\n"
        "export DB_POOL_SIZE=3\nMIGRATE_ON_START=false\n"
    )
    settings = load_settings()
    assert settings.jwt_issuer == "https://of-the-file.example"
    assert settings.jwt_audience == GOOD["JWT_AUDIENCE"]
    assert settings.db_pool_size == 3
    assert settings.migrate_on_start is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://me:pw@host/db"),
        ("DATABASE_URL", "postgresql:///db?host=/var/run/postgresql"),
        ("DATABASE_URL", "postgresql://a:b%40c@ep-pooler.neon.tech/db?sslmode=require&options=c"),
        ("JWKS_URL", "http://localhost:3000/api/auth/jwks"),
        ("JWKS_URL", "http://127.0.0.1/jwks"),
        ("JWKS_URL", "http://127.8.8.8/jwks"),
        ("JWKS_URL", "http://[::1]:3000/jwks"),
        ("JWKS_URL", "HTTPS://app.example.com"),
        ("CORS_ORIGINS", "https://a.example , http://localhost:3000,https://b.example:8443"),
        ("AUTH_RATE_LIMIT", "5/second"),
        ("AUTH_RATE_LIMIT", "100 per 2 hours"),
        ("RATE_LIMIT_STORAGE_URL", "memory://"),
        ("RATE_LIMIT_STORAGE_URL", "redis://localhost"),
        ("RATE_LIMIT_STORAGE_URL", "redis://me:p%40w@redis.example:6379/1"),
        ("RATE_LIMIT_STORAGE_URL", "rediss://:pw@[::1]:6379/0?health_check_interval=30"),
        ("DB_POOL_SIZE", "1"),
        ("DB_POOL_SIZE", "1000"),
        ("MIGRATE_ON_START", "false"),
        ("MIGRATE_ON_START", "0"),
        ("LOG_FORMAT", "json"),
    ],
)  # fmt: skip
def test_good_values_are_taken(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    load_settings()


def test_a_list_of_origins_is_split_and_trimmed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CORS_ORIGINS", "https://a.example , http://localhost:3000")
    expected = ("https://a.example", "http://localhost:3000")
    assert load_settings().cors_origins == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "top-secret"),
        ("DATABASE_URL", "mysql://me:top-secret@host/db"),
        ("DATABASE_URL", "sqlite:///top-secret.db"),
        ("DATABASE_URL", "postgresql+psycopg2://me:top-secret@host/db"),
        ("DATABASE_URL", "http://me:top-secret@host/db"),
        ("DATABASE_URL", "host=localhost password=top-secret"),
        ("DATABASE_URL", "postgresql://me:top-secret@host/db?top-secret=1"),
        ("DATABASE_URL", "postgresql://me:top-secret%zz@host/db"),
        ("DATABASE_URL", "postgresql://me:top-secret@[::1/db"),
        ("DATABASE_URL", "mysql://me:top-secret℀@host/db"),
        ("DATABASE_URL", "postgresql://me:top-secret@host:port/db"),
        ("DATABASE_URL", "postgresql://me:top-secret@host:99999/db"),
        ("DATABASE_URL", "postgresql://me:top-secret@host/db?sslmode=top-secret"),
        ("JWKS_URL", "nothing"),
        ("JWKS_URL", "http://app.example.com/api/auth/jwks"),
        ("JWKS_URL", "http://localhost.example.com/"),
        ("JWKS_URL", "http://127.0.0.1.example.com/"),
        ("JWKS_URL", "http://localhost@example.com/"),
        ("JWKS_URL", "http://0.0.0.0/"),
        ("JWKS_URL", "ftp://app.example.com/jwks"),
        ("JWKS_URL", "file:///etc/jwks"),
        ("JWKS_URL", "https://"),
        ("JWKS_URL", "https:///jwks"),
        ("JWKS_URL", "https://[::1"),
        ("JWKS_URL", "https://app.example.com:port/"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://app.example.com/path"),
        ("CORS_ORIGINS", "https://App.Example.com"),
        ("CORS_ORIGINS", "https://me:top-secret@app.example.com"),
        ("CORS_ORIGINS", "https://"),
        ("CORS_ORIGINS", "https://a.example,"),
        ("CORS_ORIGINS", "https://a.example https://b.example"),
        ("CORS_ORIGINS", "ftp://a.example"),
        ("CORS_ORIGINS", "null"),
        ("AUTH_RATE_LIMIT", "many"),
        ("AUTH_RATE_LIMIT", "60"),
        ("AUTH_RATE_LIMIT", "0/minute"),
        ("AUTH_RATE_LIMIT", "-1/minute"),
        ("AUTH_RATE_LIMIT", "5/minute;10/hour"),
        ("AUTH_RATE_LIMIT", "60/fortnight"),
        ("RATE_LIMIT_STORAGE_URL", "top-secret"),
        ("RATE_LIMIT_STORAGE_URL", "memory://top-secret"),
        ("RATE_LIMIT_STORAGE_URL", "mongodb://me:top-secret@host"),
        ("RATE_LIMIT_STORAGE_URL", "redis://"),
        ("RATE_LIMIT_STORAGE_URL", "redis:///0?password=top-secret"),
        ("RATE_LIMIT_STORAGE_URL", "redis://me:top-secret@host:port"),
        ("RATE_LIMIT_STORAGE_URL", "redis://host:top-secret"),
        ("RATE_LIMIT_STORAGE_URL", "redis://me:top-secret@[::1"),
        ("RATE_LIMIT_STORAGE_URL", "redis://host?top-secret=1"),
        ("RATE_LIMIT_STORAGE_URL", "redis://host?socket_timeout=top-secret"),
        ("RATE_LIMIT_STORAGE_URL", "rediss://host?ssl_cert_reqs=top-secret"),
        ("DB_POOL_SIZE", "0"),
        ("DB_POOL_SIZE", "-1"),
        ("DB_POOL_SIZE", "1001"),
        ("DB_POOL_SIZE", "ten"),
        ("DB_POOL_SIZE", "1.5"),
        ("MIGRATE_ON_START", "maybe"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_has_one_line_that_says_what_is_expected_and_no_secret(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    (line,) = faults()
    assert line.startswith(f"{name}: ")
    fault, _, expected = line.partition("; expected ")
    assert fault.removeprefix(f"{name}: ") not in {"", "missing"}
    assert expected == Settings.model_fields[name.lower()].description
    assert "top-secret" not in line


def test_no_address_with_a_password_shows_in_the_settings_either(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("RATE_LIMIT_STORAGE_URL", "redis://me:top-secret@host")
    settings = load_settings()
    assert "top-secret" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.usefixtures("environment")
def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings().__setattr__("jwt_issuer", "another")


def test_making_an_application_needs_no_environment_and_starting_it_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    importlib.reload(main)
    with pytest.raises(AttributeError):
        _ = main.nothing
    with pytest.raises(SystemExit) as stopped:
        _ = main.app
    assert stopped.value.code not in {0, None}
    *said, _ = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in said] == list(GOOD)


def test_the_service_stops_at_once_with_a_line_for_each_variable(folder: Path) -> None:
    (folder / ".env").write_text("JWKS_URL=http://app.example.com/jwks\nJWT_ISSUER=a\n")
    bad = {"DATABASE_URL": "mysql://me:top-secret@host/db", "LOG_FORMAT": "x"}
    status, said = failed_start(folder, bad)
    assert status != 0
    lines = [line.partition("; ")[0] for line in said.splitlines()[:-1]]
    assert lines == [
        "DATABASE_URL: not an address of PostgreSQL",
        "JWKS_URL: not an https:// address",
        "JWT_AUDIENCE: missing",
        "LOG_FORMAT: Input should be 'text' or 'json'",
    ]


@pytest.mark.slow
def test_with_several_workers_no_worker_is_started_again_and_again(folder: Path) -> None:
    _, said = failed_start(folder, {**GOOD, "DB_POOL_SIZE": "ten"}, "--workers", "2")
    assert 1 <= said.count("DB_POOL_SIZE: ") <= 2
    assert "Traceback" not in said
    assert "died" not in said
