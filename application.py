"""The application: settings, middleware, error handlers and routers are put together here.

`main.py` makes the one of the environment.
"""

import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, status
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from core.database import AccountLimiter, DatabaseHealth, make_engine
from core.http_client import make_client
from core.logs import flush_logs
from core.middleware import (
    REQUEST_ID,
    ProblemCORSMiddleware,
    ProblemMiddleware,
    RequestLogMiddleware,
    TrailingSlashFallback,
)
from core.migrations import upgrade_at_start
from core.openapi import DocumentedAPI, method_not_allowed
from core.problems import database_problem, http_problem, validation_problem
from core.rate_limit import RateLimiter
from core.settings import Settings
from core.telemetry import observe_pool, telemetry_config
from models.accounts import AccountResolver
from models.task import TaskQuota
from routers import auth, docs, health, tasks
from routers.base import MAX_STREAMS
from utils.cursors import CursorCodec
from utils.jwks import KeySet
from utils.security import PasswordHasher
from utils.tokens import TokenVerifier


def create_app(settings: Settings) -> FastAPI:
    """Create an application; what it opens, its lifespan opens and closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        url = settings.database_url.get_secret_value()
        if settings.migrate_on_start:
            await upgrade_at_start(url)
        async with AsyncExitStack() as stack:
            stack.callback(flush_logs)
            client = await stack.enter_async_context(make_client(settings.jwks_url))
            app.state.settings = settings
            app.state.database_health = DatabaseHealth()
            app.state.engine = make_engine(url, settings.db_pool_size)
            app.state.connections = AccountLimiter(max(1, settings.db_pool_size // 3))
            app.state.streams = AccountLimiter(MAX_STREAMS, wait_seconds=0)
            app.state.quota = TaskQuota(settings.tasks_per_account)
            stack.push_async_callback(app.state.engine.dispose)
            observe_pool(app.state.engine.pool)
            app.state.rate_limiter = RateLimiter(settings.rate_limit_storage_url.get_secret_value())
            stack.push_async_callback(app.state.rate_limiter.aclose)
            app.state.keys = KeySet(settings.jwks_url, client)
            stack.push_async_callback(app.state.keys.aclose)
            app.state.verifier = TokenVerifier(
                app.state.keys, settings.jwt_issuer, settings.jwt_audience
            )
            app.state.resolver = AccountResolver()
            app.state.hasher = PasswordHasher()
            app.state.cursors = CursorCodec(url)
            yield

    project = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text())["project"]
    app = DocumentedAPI(
        title=project["name"],
        version=project["version"],
        description=project["description"],
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/"}],
        openapi_tags=[
            {"name": "auth", "description": auth.__doc__},
            {"name": "tasks", "description": tasks.__doc__},
            {"name": "health", "description": health.__doc__},
        ],
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry=telemetry_config(),
        exception_handlers={
            HTTPException: http_problem,
            status.HTTP_405_METHOD_NOT_ALLOWED: method_not_allowed,
            RequestValidationError: validation_problem,
            DBAPIError: database_problem,
            PoolTimeoutError: database_problem,
        },
    )
    # The last one added is the outermost.
    app.add_middleware(ProblemMiddleware)
    app.add_middleware(
        ProblemCORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_credentials=True,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=["ETag", "Link", "Location", "Retry-After", REQUEST_ID],
    )
    app.add_middleware(RequestLogMiddleware)
    for router in (tasks.router, auth.router, health.router, docs.router):
        app.include_router(router)
    app.router.default = TrailingSlashFallback(app.router)
    return app
