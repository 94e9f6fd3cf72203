"""The gateway's numbers as text for Prometheus (text format 0.0.4). Pure but for the numbers of the process itself.

prometheus_client is imported when somebody asks, and not before: a gateway without a port for metrics starts sooner.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def family(name: str, kind: Literal["counter", "gauge"], text: str, samples: Iterable[Sample]) -> list[str]:
    """The lines of one metric; none when it has no samples."""
    values = [f"{name}{_labels(labels)} {value:g}" for labels, value in samples]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *values] if values else []


def text_of(lines: Iterable[str]) -> bytes:
    """All metrics, with those of the process (memory, CPU, open files)."""
    return ("\n".join(lines) + "\n").encode() + _of_process()()


def _labels(labels: Labels) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@cache
def _of_process() -> Callable[[], bytes]:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return partial(generate_latest, registry)
