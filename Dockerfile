# One image for gateway, relay and the small commands; docker-compose.yml says which runs where.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 rmb
WORKDIR /src
COPY pyproject.toml README.md ./
COPY rmb_peer rmb_peer
COPY relay relay
RUN pip install --no-cache-dir . && rm -rf /src/*

# Data folders, where a command keeps one, are made here: mount a volume to keep them.
RUN mkdir /data && chown rmb:rmb /data
USER rmb
WORKDIR /data

CMD ["rmb-peer", "--help"]
