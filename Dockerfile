# One image for the worker and the sandbox. It runs as a user without rights and holds no key.
FROM python:3.13-slim

RUN useradd --system --uid 10001 --no-create-home largesse
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY worker worker
RUN pip install --no-cache-dir --constraint constraints.txt '.[worker,sandbox]'

USER 10001
# SIGTERM reaches the fleet itself: jobs that run get their grace, the rest goes back in line.
ENTRYPOINT ["largesse"]
CMD ["worker"]
