"""The settings: read from the environment and `.env`, checked once, before anything starts."""

import re
from ipaddress import ip_address
from typing import Annotated, Final, Literal

import httpx
import limits
import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

# As browsers send it (RFC 6454 §6.2): in lower case, and nothing after the port.
_ORIGIN: Final = re.compile(r"https?://[^\s/?#@A-Z]+")


class ConfigurationError(Exception):
    """The environment is not valid; the message has one line for each variable that is wrong."""


class StartupError(Exception):
    """The service cannot start; the message is one line for the operator."""


class Settings(BaseSettings):
    """The variables of the environment and, below those, of `.env`; empty ones count as not set.

    A field's description says what is expected of it.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")
    jwks_url: str = Field(
        description="https://… of Better Auth's key set (http:// only for this machine),"
        " such as https://app.example.com/api/auth/jwks"
    )
    jwt_issuer: str = Field(
        description="the exact iss of the tokens, such as https://app.example.com"
    )
    jwt_audience: str = Field(description="the aud of the tokens, such as https://app.example.com")
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
    db_pool_size: int = Field(default=10, ge=1, le=1000, description="a number from 1 to 1000")
    migrate_on_start: bool = Field(default=True, description="true or false")
    log_format: Literal["text", "json"] = Field(default="text", description="text or json")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("not an address of PostgreSQL")
        try:
            hosts = parse_dsn(url.get_secret_value()).get("host", "").split(",")
            # libpq checks ports and most parameters only when it connects: it may, to nowhere.
            nowhere = make_dsn(url.get_secret_value(), host=",".join("/nowhere" for _ in hosts))
            psycopg2.connect(nowhere, hostaddr="", async_=True).close()
        except psycopg2.Error as error:
            if not str(error).startswith("connection to server"):
                # libpq's own message could quote the password.
                raise ValueError("libpq refuses this address") from None
        return url

    @field_validator("jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str) -> str:
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:
            raise ValueError("not an address") from None
        if not parts.host or not (
            parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.host))
        ):
            raise ValueError("not an https:// address")
        return url

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = [origin.strip() for origin in value.split(",")]
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("not a list of origins")
        return origins

    @field_validator("auth_rate_limit")
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        try:
            (limit,) = limits.parse_many(value)
        except ValueError:
            raise ValueError("not one limit") from None
        if limit.amount < 1:
            raise ValueError("not a limit that lets anybody in")
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
            # Makes a connection without opening it: that is where a wrong parameter comes out.
            pool = ConnectionPool.from_url(address)
            pool.make_connection()  # type: ignore[no-untyped-call] # redis-py's
        except (ValueError, TypeError, RedisError):
            # Their own words could quote the password.
            raise ValueError("redis-py cannot read this address") from None
        if not pool.connection_kwargs.get("host"):
            raise ValueError("no host in this address")
        return url


def load_settings() -> Settings:
    """Read and check the variables. Raises ConfigurationError."""
    try:
        return Settings()
    except ValidationError as errors:
        raise ConfigurationError(
            "\n".join(
                f"{name.upper()}: {_fault(error['type'], error['msg'])};"
                f" expected {Settings.model_fields[name].description}"
                for error in errors.errors(include_input=False)
                if isinstance(name := error["loc"][0], str)
            )
            + "\nTo try the service without any of them: uv run python -m sandbox"
        ) from None


def _fault(kind: str, message: str) -> str:
    return "missing" if kind == "missing" else message.removeprefix("Value error, ")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
