# One image for everything that runs: `serve` (the default), `worker`, `db upgrade`. PostgreSQL and Redis are elsewhere (compose.yaml).

# Where another registry is used, or none: --build-arg PYTHON_IMAGE=… names an image with Python 3.11 or newer as `python`, with venv.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/emg-sessions
# The libraries first: they change seldom, and their layer is large.
COPY requirements.service.lock ./
RUN /opt/emg-sessions/bin/pip install --require-hashes --requirement requirements.service.lock
COPY pyproject.toml README.md LICENSE container.py ./
COPY domain domain
COPY services services
COPY adapters adapters
COPY alembic alembic
RUN /opt/emg-sessions/bin/pip install --no-deps . && /opt/emg-sessions/bin/emg-sessions --help > /dev/null

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/emg-sessions/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data LOG_FORMAT=json LOG_LEVEL=info
RUN groupadd --system --gid 10001 emg && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin emg \
  && install --directory --owner emg --group emg /data
COPY --from=build /opt/emg-sessions /opt/emg-sessions
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Alive, not ready: a database that is away is no reason to start this process again. A worker answers elsewhere, if at all: see compose.yaml.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["emg-sessions"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
