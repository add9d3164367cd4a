"""The API's description for people: Swagger UI, with nothing from another origin."""

import base64
import hashlib
import re
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

router = APIRouter(include_in_schema=False)

_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*)</script>", re.DOTALL)


@router.get("/")
async def read_root(request: Request) -> Response:
    """Lead a person to the documentation."""
    return RedirectResponse(f"{request.scope['root_path']}/docs")


@router.get("/docs")
@router.get("/docs/")
async def read_docs(request: Request) -> Response:
    """Show Swagger UI; its addresses are relative, so that a proxy may put us under a prefix."""
    root = "../" if request.url.path.endswith("/") else ""
    page = get_swagger_ui_html(
        title=request.app.title,
        openapi_url=f"{root}openapi.json",
        swagger_js_url=f"{root}docs/assets/swagger-ui-bundle.js",
        swagger_css_url=f"{root}docs/assets/swagger-ui.css",
        swagger_favicon_url=f"{root}docs/assets/favicon.png",
    )
    # The page has one inline script, FastAPI's own: by its digest it is the only one that runs.
    (script,) = _INLINE_SCRIPT.findall(page.body)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    page.headers["Content-Security-Policy"] = _POLICY.format(digest)
    return page


class _WholeFiles(StaticFiles):
    """Files without ranges (RFC 9110 §14.2): a wrong one would be answered in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as if no range had been asked for."""
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


router.mount("/docs/assets", _WholeFiles(packages=[("fastapi_offline", "static")]))
