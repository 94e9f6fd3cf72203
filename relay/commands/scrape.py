"""What a running relay tells about itself over HTTP, read by a command. It refuses to know what is shown of it."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rmb_peer.protocol.errors import LocalError

ANSWER_S_MAX = 10.0
"""Twice what a probe may take; a guess."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""A guess: metrics of thousands of remote relays."""

Labels = tuple[tuple[str, str], ...]


class Unreachable(LocalError):
    """Nobody answers there, or not a relay; the text says where, and what to try."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The metrics of one instant.

    Attributes:
        values: by name, without the `_total` that some counters have and some have not, and labels.
    """

    values: Mapping[tuple[str, Labels], float] = field(default_factory=dict)

    def total(self, name: str) -> float | None:
        """The sum over all labels; `None` if there is no such metric."""
        found = [value for (given, _), value in self.values.items() if given == name]
        return sum(found) if found else None

    def newest(self, name: str, label: str, text: str) -> tuple[float, dict[str, str]] | None:
        """The largest value of a metric among those where a label has this text, with all its labels."""
        found = [
            (value, dict(labels))
            for (given, labels), value in self.values.items()
            if given == name and (label, text) in labels
        ]
        return max(found, key=lambda item: item[0], default=None)

    def by(self, label: str) -> dict[str, dict[str, float]]:
        """Values by the value of one label, then by name; where a metric has more labels, summed over them."""
        found: dict[str, dict[str, float]] = {}
        for (name, labels), value in self.values.items():
            for key, text in labels:
                if key == label:
                    row = found.setdefault(text, {})
                    row[name] = row.get(name, 0.0) + value
        return found


def parse_samples(text: str) -> Samples:
    """Read Prometheus' text format.

    Raises:
        ValueError: it is something else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removesuffix("_total")
            values[name, tuple(sorted(sample.labels.items()))] = float(sample.value)
    return Samples(values)


def get(url: str, path: str) -> tuple[int, bytes]:
    """GET a path of a relay: status and body.

    Raises:
        Unreachable: no answer.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise Unreachable(f"{url!r} is no address of a relay: expected http://host:port")
    connection = (
        http.client.HTTPSConnection(host, port, timeout=ANSWER_S_MAX, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=ANSWER_S_MAX)
    )
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        answer = connection.getresponse()
        body = answer.read(ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise Unreachable(f"no relay answers at {url}: {reason}; is it running, and is --url right?") from None
    finally:
        connection.close()
    if len(body) > ANSWER_BYTES_MAX:
        raise Unreachable(f"what answers at {url} says too much to be a relay")
    return answer.status, body


def get_samples(url: str) -> Samples:
    """The metrics of a relay.

    Raises:
        Unreachable: there are none.
    """
    status, body = get(url, "/metrics")
    try:
        if status == http.client.OK:
            return parse_samples(body.decode())
    except ValueError:
        status = 0
    why = f"answers {status} to /metrics" if status else "does not speak of metrics as a relay does"
    raise Unreachable(f"{url} {why}; a relay with --admin-listen has them there: give that address as --admin-url")


def get_json(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """Status and the JSON object in the body, which is empty when there is none.

    Raises:
        Unreachable: no answer.
    """
    status, body = get(url, path)
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    return status, value if isinstance(value, dict) else {}
