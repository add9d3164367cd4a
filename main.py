"""The application: settings, middleware, error handlers and routers are put together here."""

import gc
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from anyio import to_thread
from fastapi import FastAPI, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from psycopg2 import InterfaceError, InternalError, OperationalError
from starlette.exceptions import HTTPException
from uvicorn.config import STARTUP_FAILURE

from dependencies.auth import Identities
from dependencies.database import Database, database_problem
from dependencies.migrations import upgrade
from dependencies.rate_limit import RateLimit
from dependencies.settings import ConfigurationError, Settings
from routers import auth, docs, health, tasks
from utils.jwks import KeySet
from utils.logs import REQUEST_ID, RequestLogMiddleware, configure_logging
from utils.problems import (
    Problem,
    ProblemMiddleware,
    http_problem,
    validation_problem,
)
from utils.security import PasswordHasher
from utils.tokens import TokenVerifier
from utils.turns import TurnMiddleware


def create_app(settings: Settings) -> FastAPI:
    """Make an application; what it opens, its lifespan opens and closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        url = settings.database_url.get_secret_value()
        if settings.migrate_on_start:
            await to_thread.run_sync(upgrade, url)
        async with httpx.AsyncClient() as client:
            app.state.keys = KeySet(settings.jwks_url, client)
            app.state.verifier = TokenVerifier(
                app.state.keys, settings.jwt_issuer, settings.jwt_audience
            )
            app.state.identities = Identities()
            app.state.hasher = PasswordHasher()
            app.state.rate_limit = RateLimit(
                settings.auth_rate_limit, settings.rate_limit_storage_url.get_secret_value()
            )
            app.state.database = Database(url, settings.db_pool_size)
            try:
                yield
            finally:
                await app.state.keys.aclose()
                await app.state.rate_limit.aclose()
                app.state.database.close()

    project = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text())["project"]
    app = FastAPI(
        title=project["name"],
        version=project["version"],
        description=project["description"],
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        # OpenTelemetry, where its variables ask for it. Errors are in the log: here they would go
        # out with their messages and stack traces.
        telemetry={"auto_configure": True, "logs": False, "operation_spans": False},
        exception_handlers={
            HTTPException: http_problem,
            status.HTTP_405_METHOD_NOT_ALLOWED: _wrong_method,
            RequestValidationError: validation_problem,
            OperationalError: database_problem,
            InterfaceError: database_problem,
            InternalError: database_problem,
        },
    )
    # The last one added stands outermost.
    app.add_middleware(ProblemMiddleware)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            REQUEST_ID,
        ],
        expose_headers=["ETag", "Link", "Location", "Retry-After", REQUEST_ID],
    )
    app.add_middleware(TurnMiddleware, first=health.router.prefix)
    app.add_middleware(RequestLogMiddleware)
    for router in (tasks.router, auth.router, health.router, docs.router):
        # FastAPI looks for the route of each request twice in a router that is included.
        app.router.routes.extend(router.routes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI documents this way
    return app


async def _wrong_method(request: Request, error: Exception) -> Response:
    """Name all methods of the address (RFC 9110 §15.5.6); Starlette names those of one route."""
    response = await http_problem(request, error)
    path = getattr(request.scope.get("route"), "path", "")
    operations = request.app.openapi()["paths"].get(path)
    if operations:
        response.headers["Allow"] = ", ".join(each.upper() for each in operations)
    return response


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API as it is: problems for every error, and no 422 anywhere."""
    fresh = app.openapi_schema is None
    document = FastAPI.openapi(app)
    if fresh:
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**problem.pop("$defs"), "Problem": problem}
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
    return document


def __getattr__(name: str) -> FastAPI:
    """Make `app` when uvicorn asks for it: `create_app` alone needs no environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = Settings.from_environment()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        # With --workers, uvicorn would start any other worker that ends again and again.
        sys.exit(STARTUP_FAILURE)
    configure_logging(settings.log_format)
    app = globals()["app"] = create_app(settings)
    # All of this stays for good. To look through it again for garbage would hold every request up,
    # once a second or so under load, for most of a tenth of a second.
    gc.freeze()
    # A request leaves next to no cycles behind: to look for them after every 700 objects, as Python
    # has it, is a tenth of its time.
    gc.set_threshold(10_000)
    return app
