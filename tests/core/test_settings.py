"""Tests of the settings: what is read from where, what is refused, and how that is reported."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from core.settings import ConfigurationError, ProxySettings, Settings, load_settings
from tests.support.process import failed_start, running_server

GOOD = {
    "DATABASE_URL": "postgresql://me:top-secret@localhost:5432/todo",
    "JWKS_URL": "https://app.example.com/api/auth/jwks",
    "JWT_ISSUER": "https://app.example.com",
    "JWT_AUDIENCE": "https://api.example.com",
}
PROXIES = [each for name in ProxySettings.model_fields for each in (name, name.upper())]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with none of the variables set."""
    monkeypatch.chdir(tmp_path)
    for name in (*map(str.upper, Settings.model_fields), *PROXIES):
        monkeypatch.delenv(name, raising=False)
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
    return [line for line in str(caught.value).splitlines() if "sandbox" not in line]


@pytest.mark.parametrize("value", [None, "", " \n", '""'])
def test_each_variable_that_is_missing_or_empty_has_its_line(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        for name in (*GOOD, "DB_POOL_SIZE"):
            monkeypatch.setenv(name, value)
    lines = faults()
    assert sorted(line.partition(": missing; expected ")[0] for line in lines) == sorted(GOOD)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_dotenv_file_is_read_and_the_environment_wins(
    environment: pytest.MonkeyPatch, folder: Path, encoding: str
) -> None:
    environment.delenv("JWT_ISSUER")
    (folder / ".env").write_text(
        "JWT_ISSUER='https://of-the-file.example'\nJWT_AUDIENCE=of-the-file\n# a comment: ä\n"
        "export DB_POOL_SIZE=3\nMIGRATE_ON_START=false\n",
        encoding,
    )
    settings = load_settings()
    assert settings.jwt_issuer == "https://of-the-file.example"
    assert settings.jwt_audience == (GOOD["JWT_AUDIENCE"],)
    assert settings.db_pool_size == 3
    assert settings.migrate_on_start is False


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_dotenv_file_that_is_not_utf_8_is_refused_in_one_line(
    folder: Path, encoding: str
) -> None:
    # UTF-16 of ASCII alone is valid UTF-8, with a NUL after each letter.
    letter = "ä" if encoding == "latin-1" else "a"
    (folder / ".env").write_bytes(f"JWT_ISSUER=https://{letter}.example\n".encode(encoding))
    (line,) = faults()
    assert line.startswith(".env: ")
    assert "UTF-8" in line


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("DATABASE_URL", "postgres://me:pw@host/db", None),
        ("DATABASE_URL", "postgresql+psycopg2://me:pw@host/db", "postgresql://me:pw@host/db"),
        ("DATABASE_URL", " postgresql://me:pw@host/db\n", "postgresql://me:pw@host/db"),
        ("DATABASE_URL", "postgresql:///db?host=/var/run/postgresql", None),
        ("DATABASE_URL", "postgresql://a:b%40c@h/db?sslmode=require&channel_binding=require", None),
        ("DATABASE_URL", "postgresql://h/db?options=-csearch_path%3Dx&connect_timeout=5", None),
        ("DATABASE_URL", "postgresql://me:a?b&c=d@host/db", None),
        ("JWKS_URL", "http://localhost:3000/api/auth/jwks", None),
        ("JWKS_URL", "http://127.8.8.8/jwks", None),
        ("JWKS_URL", "http://[::1]:3000/jwks", None),
        ("JWKS_URL", "HTTPS://app.example.com", None),
        ("JWT_ISSUER", "\thttps://app.example.com \r\n", "https://app.example.com"),
        ("JWT_ISSUER", '"https://app.example.com"', "https://app.example.com"),
        ("JWT_ISSUER", "'https://app.example.com'", "https://app.example.com"),
        ("JWT_AUDIENCE", "one , two,", ("one", "two")),
        (
            "CORS_ORIGINS",
            "https://a.example , http://localhost:3000,https://b.example:8443,http://[::1]:1",
            ("https://a.example", "http://localhost:3000", "https://b.example:8443", "http://[::1]:1"),
        ),
        ("AUTH_RATE_LIMIT", "100 per 2 hours", None),
        ("RATE_LIMIT_STORAGE_URL", "redis://me:p%40w@redis.example:6379/1", None),
        ("RATE_LIMIT_STORAGE_URL", "rediss://:pw@[::1]:6379/0?health_check_interval=30", None),
        ("TASKS_PER_ACCOUNT", "1", 1),
        ("DB_POOL_SIZE", "1000", 1000),
        ("MIGRATE_ON_START", "0", False),
        ("LOG_FORMAT", "json", None),
        *(("NO_PROXY", value, None) for value in ("fd07:b51a:cc66:f0::/64", "[::1],ä,*", "a b:c")),
        *((name, "http://me:pw@proxy:3128", None) for name in ("HTTP_PROXY", "https_proxy")),
        ("ALL_PROXY", "proxy:3128", None),
    ],
)  # fmt: skip
def test_good_values_are_taken(
    environment: pytest.MonkeyPatch, name: str, value: str, read: object
) -> None:
    environment.setenv(name, value)
    settings = load_settings().model_dump()
    if name.lower() in settings:
        taken = settings[name.lower()]
        plain = taken.get_secret_value() if hasattr(taken, "get_secret_value") else taken
        assert plain == (value if read is None else read)


def test_http_to_another_host_is_accepted_where_it_is_allowed(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("JWKS_URL", "http://web:3000/api/auth/jwks")
    (line,) = faults()
    assert "JWKS_ALLOW_HTTP=true" in line
    environment.setenv("JWKS_ALLOW_HTTP", "true")
    assert load_settings().jwks_url == "http://web:3000/api/auth/jwks"


UNUSABLE_PROXIES = tuple(
    f"{each}://me:top-secret@proxy:1080" for each in ("socks5", "socks5h", "socks", "ftp")
)
BAD: dict[str, Sequence[str]] = {
    "DATABASE_URL": [
        "top-secret", "mysql://me:top-secret@host/db", "sqlite:///top-secret.db",
        "postgresql+asyncpg://me:top-secret@host/db", "http://me:top-secret@host/db",
        "host=localhost password=top-secret", "postgresql://me:top-secret%zz@host/db",
        "postgresql://me:top-secret@[::1/db", "mysql://me:top-secret℀@host/db",
        "postgresql://me:top-secret@host:port/db", "postgresql://me:top-secret@host:99999/",
        "postgresql://me:top/secret?top-secret=1&x=@host/db",
    ],
    "JWKS_URL": [
        "nothing", "http://app.example.com/api/auth/jwks", "http://localhost.example.com/",
        "http://127.0.0.1.example.com/", "http://localhost@example.com/", "http://0.0.0.0/",
        "ftp://app.example.com/jwks", "file:///etc/jwks", "https://", "https:///jwks",
        "https://[::1", "https://app.example.com:port/", "https://me:top-secret@app.example",
        "http://me@localhost/jwks",
    ],
    "JWT_AUDIENCE": [" , "],
    "CORS_ORIGINS": [
        "*", "app.example.com", "https://", "https://a.example https://b.example",
        "ftp://a.example", "null", "https://*.example.com", "https://[::1",
    ],
    "AUTH_RATE_LIMIT": ["many", "60", "0/minute", "-1/minute", "5/minute;10/hour", "60/fortnight"],
    "RATE_LIMIT_STORAGE_URL": [
        "top-secret", "memory://top-secret", "mongodb://me:top-secret@host", "redis://",
        "redis:///0?password=top-secret", "redis://me:top-secret@host:port",
        "redis://host:top-secret", "redis://me:top-secret@[::1", "redis://host?top-secret=1",
        "redis://host?socket_timeout=top-secret", "rediss://host?ssl_cert_reqs=top-secret",
    ],
    "DB_POOL_SIZE": ["0", "-1", "1001", "ten", "1.5"],
    "TASKS_PER_ACCOUNT": ["0", "-1", "many"],
    **dict.fromkeys(("MIGRATE_ON_START", "JWKS_ALLOW_HTTP", "LOG_FORMAT"), ("maybe",)),
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), UNUSABLE_PROXIES),
    "https_proxy": ["http://", "http://[::1", "proxy:port"],
    "SSL_CERT_FILE": ["/missing/top-secret", "/etc/passwd", "/etc"],
}  # fmt: skip
PARAMETERS = {
    "pgbouncer": "true", "schema": "public", "uselibpqcompat": "true", "connection_limit": "5",
    "connect_timeout": "word", "keepalives_idle": "top-secret", "sslmode": "top-secret",
    "port": "top-secret", "target_session_attrs": "any-",
}  # fmt: skip
ORIGINS = {
    "https://app.example.com/": "https://app.example.com",
    "https://app.example.com/path": "https://app.example.com",
    "https://App.Example.com": "https://app.example.com",
    "https://ä.example": "https://xn--4ca.example",
    "https://me:top-secret@app.example.com": "https://app.example.com",
    "https://a.example:443": "https://a.example",
    "http://a.example:80": "http://a.example",
}
"""Origins, and what browsers send of them."""
DATABASE = "postgresql://me:top-secret@host/db?sslmode=require"


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        *((name, value, "") for name, values in BAD.items() for value in values),
        *(("DATABASE_URL", f"{DATABASE}&{name}={PARAMETERS[name]}", name) for name in PARAMETERS),
        *(("CORS_ORIGINS", f"http://localhost,{each}", ORIGINS[each]) for each in ORIGINS),
    ],
)
def test_a_bad_value_has_one_line_that_names_what_is_wrong_and_no_secret(
    environment: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    environment.setenv(name, value)
    (line,) = faults()
    assert line.startswith(f"{name}: ")
    fault, _, expected = line.partition("; expected ")
    assert fault.removeprefix(f"{name}: ") not in {"", "missing"}
    assert named in fault
    assert expected
    assert "top-secret" not in line


@pytest.mark.slow
def test_the_service_stops_at_once_with_a_line_for_each_variable(folder: Path) -> None:
    (folder / ".env").write_text("JWKS_URL=http://app.example.com/jwks\nJWT_ISSUER=a\n")
    bad = {
        "DATABASE_URL": "mysql://me:top-secret@host/db",
        "LOG_FORMAT": "x",
        "ALL_PROXY": "socks5://proxy",
    }
    status, output = failed_start(folder, bad)
    assert status != 0
    lines = [line.partition(": ")[0] for line in output.splitlines()[:-1]]
    assert lines == ["DATABASE_URL", "JWKS_URL", "JWT_AUDIENCE", "LOG_FORMAT", "ALL_PROXY"]
    assert "top-secret" not in output


@pytest.mark.slow
def test_with_several_workers_no_worker_is_started_again_and_again(folder: Path) -> None:
    # On a busy machine uvicorn would take a worker that is still importing for a dead one.
    options = ("--workers", "2", "--timeout-worker-healthcheck", "30")
    _, output = failed_start(folder, {**GOOD, "DB_POOL_SIZE": "ten"}, *options)
    assert 1 <= output.count("DB_POOL_SIZE: ") <= 2
    assert "Traceback" not in output
    assert "died" not in output


@pytest.mark.slow
def test_values_of_uvicorns_env_file_may_be_in_quotes_and_an_issuer_with_a_slash_is_warned_of(
    folder: Path, database_url: str
) -> None:
    values = {**GOOD, "DATABASE_URL": database_url, "JWT_ISSUER": "https://app.example.com/"}
    (folder / "variables").write_text("".join(f'{name}="{values[name]} "\n' for name in values))
    proxies = {"NO_PROXY": "fd07:b51a:cc66:f0::/64,[::1]", "HTTPS_PROXY": "http://127.0.0.1:1"}
    with running_server(folder, proxies, "--env-file", "variables") as server:
        assert "JWT_ISSUER" in server.log.read_text()
