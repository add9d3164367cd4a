"""The settings: read from the environment and `.env`, and checked before anything starts."""

import os
import re
import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import httpx
import limits
import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

# As browsers send it (RFC 6454 §6.2): in lower case, without a path or a default port.
_ORIGIN: Final = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]+)?")
# libpq checks these only when a TCP connection is open, or not at all.
_INTEGER_PARAMETERS: Final = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
}


class ConfigurationError(Exception):
    """The environment is not valid; the message has one line for each variable that is wrong."""


class StartupError(Exception):
    """The service cannot start; the message is one line for the operator."""


class _Environment(BaseSettings):
    """Variables of the environment and, below those, of `.env`; empty ones count as not set."""

    model_config = SettingsConfigDict(
        env_file=".env",
        # A byte order mark is no part of the first name.
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _strip(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip white space, and the quotes that `docker run --env-file` leaves around a value."""
        stripped = {}
        for name, value in values.items():
            text = value.strip() if isinstance(value, str) else value
            if isinstance(text, str) and len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
                text = text[1:-1].strip()
            if text != "":
                stripped[name] = text
        return stripped


class DatabaseSettings(_Environment):
    """The variable that a migration needs."""

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        # SQLAlchemy's form of an address, with its driver.
        if url.startswith("postgresql+psycopg2://"):
            url = url.replace("+psycopg2", "", 1)
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("not an address of PostgreSQL")
        # One by one, to name the one at fault. A question mark before the @ is the password's.
        query = url.rpartition("@")[2].partition("?")[2]
        for parameter in query.split("&"):
            name, _, number = parameter.partition("=")
            if not _libpq_accepts(f"postgresql://?{parameter}") or (
                name in _INTEGER_PARAMETERS and not re.fullmatch(r"-?[0-9]{1,9}", number)
            ):
                raise ValueError(f"libpq does not know the parameter {name}, or not this value")
        if not _libpq_accepts(url):
            raise ValueError("libpq refuses this address")
        return SecretStr(url)


class Settings(DatabaseSettings):
    """The settings of the service; a field's description says what is expected of it."""

    # Validated in this order: the check of JWKS_URL needs it.
    jwks_allow_http: bool = Field(default=False, description="true or false")
    jwks_url: str = Field(
        description="https://… of Better Auth's key set, such as"
        " https://app.example.com/api/auth/jwks (http:// only for this machine, or with"
        " JWKS_ALLOW_HTTP=true in a private network)"
    )
    jwt_issuer: str = Field(
        description="the exact iss of the tokens, such as https://app.example.com"
    )
    jwt_audience: Annotated[tuple[str, ...], NoDecode] = Field(
        description="the aud of the tokens, such as https://app.example.com; several with commas"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("http://localhost:3000",),
        description="comma-separated origins, such as https://app.example.com (no path, no slash)",
    )
    auth_rate_limit: str = Field(
        default="60/minute", description="a count and a period, such as 60/minute"
    )
    rate_limit_storage_url: SecretStr = Field(
        default=SecretStr("memory://"),
        description="memory://, or redis://user:password@host:port/number (rediss:// with TLS)",
    )
    tasks_per_account: int = Field(default=10_000, ge=1, description="a number, 1 or more")
    db_pool_size: int = Field(default=10, ge=1, le=1000, description="a number from 1 to 1000")
    migrate_on_start: bool = Field(default=True, description="true or false")
    log_format: Literal["text", "json"] = Field(default="text", description="text or json")

    @field_validator("jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str, info: ValidationInfo) -> str:
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:
            raise ValueError("not an address") from None
        if parts.userinfo:
            raise ValueError("must not contain a user or a password: the address is logged")
        may_be_http = info.data.get("jwks_allow_http") or is_loopback(parts.host)
        if not parts.host or parts.scheme not in ({"https", "http"} if may_be_http else {"https"}):
            raise ValueError("not an https:// address")
        return url

    @field_validator("jwt_audience", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("jwt_audience")
    @classmethod
    def _check_audience(cls, audiences: tuple[str, ...]) -> tuple[str, ...]:
        if not audiences:
            raise ValueError("no value between the commas")
        return audiences

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            try:
                url = httpx.URL(origin)
            except httpx.InvalidURL:
                raise ValueError("not a list of origins") from None
            sent = f"{url.scheme}://{url.netloc.decode()}"
            if "*" in sent:
                raise ValueError(f"wildcards are not supported ({sent})")
            if not _ORIGIN.fullmatch(sent):
                raise ValueError("not a list of origins")
            if origin != sent:
                raise ValueError(f"browsers send this origin as {sent}")
        return origins

    @field_validator("auth_rate_limit")
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        try:
            (limit,) = limits.parse_many(value)
        except ValueError:
            raise ValueError("not one limit") from None
        if limit.amount < 1:
            raise ValueError("the count must be at least 1")
        return value

    @field_validator("rate_limit_storage_url")
    @classmethod
    def _check_storage_url(cls, url: SecretStr) -> SecretStr:
        address = url.get_secret_value()
        if address == "memory://":
            return url
        if not address.startswith(("redis://", "rediss://")):
            raise ValueError("neither memory:// nor an address of Redis")
        try:
            # Creates a connection without opening it: this raises for a wrong parameter.
            pool = ConnectionPool.from_url(address)
            pool.make_connection()  # type: ignore[no-untyped-call] # redis-py's
        except (ValueError, TypeError, RedisError):
            # Their own messages could quote the password.
            raise ValueError("redis-py cannot read this address") from None
        if not pool.connection_kwargs.get("host"):
            raise ValueError("no host in this address")
        return url


class ProxySettings(_Environment):
    """Proxies and certificates: variables that all programs of a machine share.

    Checked like the settings, because httpx raises from its constructor for values that it cannot
    use.
    """

    http_proxy: SecretStr | None = Field(default=None, description="http://host:port")
    https_proxy: SecretStr | None = Field(default=None, description="http://host:port")
    all_proxy: SecretStr | None = Field(default=None, description="http://host:port")
    no_proxy: str = ""
    ssl_cert_file: Path | None = Field(default=None, description="a file of certificates (PEM)")
    ssl_cert_dir: Path | None = None

    @field_validator("http_proxy", "https_proxy", "all_proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        url = url if "://" in url else f"http://{url}"
        try:
            httpx.AsyncHTTPTransport(proxy=url, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except (httpx.InvalidURL, ValueError, ImportError):
            # Their own messages could quote the password.
            raise ValueError("not a proxy that this service can use (SOCKS is not)") from None
        if not httpx.URL(url).host:
            raise ValueError("no host in this address")
        return SecretStr(url)

    @field_validator("ssl_cert_file")
    @classmethod
    def _check_certificates(cls, path: Path) -> Path:
        try:
            ssl.create_default_context(cafile=path)
        except OSError:
            raise ValueError("no certificates can be read from this file") from None
        return path


def load_settings() -> Settings:
    """Read and check the variables of the service. Raises ConfigurationError."""
    _check(Settings, ProxySettings)
    return Settings()


def load_database_url() -> str:
    """Read and check the variable of a migration alone. Raises ConfigurationError."""
    _check(DatabaseSettings)
    return DatabaseSettings().database_url.get_secret_value()


def _check(*models: type[_Environment]) -> None:
    _check_env_file()
    if lines := [line for model in models for line in _faults(model)]:
        lines.append("To try the service without any of them: uv run python -m sandbox")
        raise ConfigurationError("\n".join(lines))


def _faults(model: type[_Environment]) -> Iterator[str]:
    """Yield a line for each variable that is missing or wrong."""
    try:
        model()
    except ValidationError as errors:
        for error in errors.errors(include_input=False):
            name = str(error["loc"][0])
            # As in the environment: variables for proxies are often in lower case.
            spelled = next((each for each in os.environ if each.lower() == name), name.upper())
            fault = error["msg"].removeprefix("Value error, ")
            fault = "missing" if error["type"] == "missing" else fault
            yield f"{spelled}: {fault}; expected {model.model_fields[name].description}"


def _check_env_file() -> None:
    """Raise ConfigurationError for a `.env` that is not UTF-8, such as PowerShell's."""
    try:
        text = Path(".env").read_text("utf-8") if Path(".env").is_file() else ""
    except (OSError, UnicodeDecodeError):
        text = "\0"
    # UTF-16 without a byte order mark is UTF-8 with a NUL after each letter.
    if "\0" in text:
        raise ConfigurationError(".env: cannot be read; expected a text file in UTF-8")


def _libpq_accepts(url: str) -> bool:
    """Return whether libpq takes an address; it checks most parameters only when it connects.

    Connect to a socket that does not exist, for that reason.
    """
    try:
        hosts = parse_dsn(url).get("host", "").split(",")
        # Without a user libpq looks up the process's own, which a container need not have.
        nowhere = make_dsn(
            url, host=",".join("/nowhere" for _ in hosts), hostaddr="", user="nobody"
        )
        psycopg2.connect(nowhere, async_=True).close()
    except psycopg2.Error as error:
        # Do not show libpq's message: it could quote the password.
        return str(error).startswith("connection to server")
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address, or `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
