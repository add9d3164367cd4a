# docs/operations.md, "In a container", says how to build and run this image.

FROM python:3.12.15-slim-trixie AS build
WORKDIR /app
COPY deploy/requirements.txt deploy/
RUN python3 -m pip install --no-cache-dir --root-user-action=ignore -r deploy/requirements.txt
ENV UV_NO_CACHE=1 UV_PYTHON=/usr/local/bin/python3 UV_PYTHON_DOWNLOADS=never
# Optional dependencies to include: otel, for OpenTelemetry.
ARG EXTRAS=""
# The dependencies come first: they change less often than the source code.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev ${EXTRAS:+--extra $EXTRAS}
# .dockerignore lists what this copies. The compiled modules are not compared with their source by
# time: some builders round the times of files.
COPY . .
RUN rm -r uv.lock deploy && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM python:3.12.15-slim-trixie
ENV PATH=/app/.venv/bin:$PATH
# For `sslrootcert=system`: the libpq of psycopg2's wheel would look into a folder of its builder.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /app
COPY --from=build /app .
# The base image has no compiled modules of Python's own: each start would compile them again.
RUN python3 -c "import application, uvicorn.supervisors"
ENV PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can check `runAsNonRoot`. The files belong to root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python3", "-c", "\
import http.client, os, sys; \
service = http.client.HTTPConnection('localhost', os.environ.get('PORT', '8000'), timeout=3); \
service.request('GET', '/health'); \
sys.exit(service.getresponse().status != 200)"]
# `exec` replaces the shell with uvicorn, so that uvicorn receives SIGTERM. Without HOST it listens
# on IPv4 and IPv6. It also reads FORWARDED_ALLOW_IPS (the proxy's addresses) from the environment.
# One process, whatever WEB_CONCURRENCY says: several lose requests at each restart.
CMD ["sh", "-c", "exec uvicorn main:app --host \"${HOST-}\" --port ${PORT:-8000} \
--no-server-header --no-access-log --http core.http_protocol:LimitedHttpProtocol \
--timeout-graceful-shutdown 30 --proxy-headers --workers 1"]
