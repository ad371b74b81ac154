# One image for the worker, the dashboard and the sandbox. It runs as a user without rights, holds
# no key, and writes nothing to its own file system.
FROM python:3.13-slim AS build

# For encryption, traces or reports:
# --build-arg EXTRAS=worker,dashboard,sandbox,encryption,otel,sentry
ARG EXTRAS=worker,dashboard,sandbox
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY worker worker
# Without pip of its own, as nothing is installed into it later.
RUN python -m venv --without-pip /opt/largesse \
    && pip --python /opt/largesse install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.13-slim

RUN useradd --system --uid 10001 --no-create-home largesse
COPY --from=build /opt/largesse /opt/largesse
# One port for metrics and health, reached from outside the container: see docs/deploying.md.
ENV PATH=/opt/largesse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LARGESSE_METRICS_PORT=9400 \
    LARGESSE_METRICS_HOST=0.0.0.0

USER 10001
# The worker's; the dashboard and the sandbox have others, in docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9400/readyz', timeout=4)"]
# SIGTERM reaches the fleet itself: jobs that run get their grace, the rest goes back in line.
ENTRYPOINT ["largesse"]
# A process a container: containers are what is scaled, and each has one port to ask.
CMD ["worker", "--processes", "1", "--concurrency", "32"]
