# docs/operations.md, "In a container", says how to build and run this image.

FROM python:3.12-slim-trixie AS build
RUN --mount=type=cache,target=/root/.cache python3 -m pip install --root-user-action=ignore uv
ENV UV_LINK_MODE=copy UV_PYTHON=/usr/local/bin/python3 UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# Optional dependencies to include: otel, for OpenTelemetry.
ARG EXTRAS=""
# .dockerignore lists what belongs to the service. Everything is compiled here, because nothing is
# written at run time. The dependencies come first: they change less often than the source code.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache \
    uv sync --locked --no-dev --compile-bytecode ${EXTRAS:+--extra $EXTRAS}
COPY . .
RUN rm uv.lock && python3 -m compileall -q -j 0 main.py */

FROM python:3.12-slim-trixie
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=build /app .
# A number, so that Kubernetes can check `runAsNonRoot`. The files belong to root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python3", "-c", "\
import http.client, os, sys; \
service = http.client.HTTPConnection('127.0.0.1', os.environ.get('PORT', '8000'), timeout=3); \
service.request('GET', '/health'); \
sys.exit(service.getresponse().status != 200)"]
# With `exec`, uvicorn takes the shell's place and gets SIGTERM itself. It also reads WEB_CONCURRENCY
# (worker processes) and FORWARDED_ALLOW_IPS (the proxy's address) from the environment.
CMD ["sh", "-c", "exec uvicorn main:app --host 0.0.0.0 --port ${PORT:-8000} \
--no-server-header --no-access-log --http core.http_protocol:LimitedHttpProtocol \
--timeout-graceful-shutdown 30 --proxy-headers"]
