"""The tables of a result: which figures are shown under which heads. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.hops import REQUEST_HOPS
from tests.benchmarks.result import Result


@dataclass(frozen=True)
class Shape:
    """How the cases of a group are shown.

    Attributes:
        title: over the table.
        first: head of the column with the names.
        columns: head and figure of the others.
        note: what the reader has to know.
    """

    title: str
    first: str
    columns: Sequence[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Texts, ready to be aligned.

    Attributes:
        title, note: above and below.
        heads: one for each column; all but the first one are numbers.
        rows: texts.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str


PROCESSOR = "µs: processor time for one request and its response. The floor is their cryptography alone."
REQUESTS = (
    ("per s", "per_s"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("gateways µs", "gateways_us"),
    ("relay µs", "relay_us"),
    ("Valkeys µs", "valkeys_us"),
    ("floor µs", "floor_us"),
    ("x floor", "cpu_by_floor"),
)
COUNTS = (("commands", "commands"), ("frames", "frames"))
ON_CURVE = REQUESTS[3:]
ENVELOPES = (("per s and core", "per_core_s"), ("per s", "per_s"), ("store µs", "store_us"))

SHAPES = {
    "requests": Shape(
        "Requests end to end",
        "requests",
        (*REQUESTS, *COUNTS),
        f"{PROCESSOR} Commands to the gateways' Valkeys, and frames of rmb.2 at the relay, are per request.",
    ),
    "hops": Shape(
        "Steps from process to process",
        "300 bytes by TCP",
        (("µs", "hop_us"), (f"{REQUEST_HOPS} of them, ms", "request_ms")),
        f"A request and its answer take {REQUEST_HOPS}, whatever is done at each: the machine's floor for a lone one.",
    ),
    "envelopes": Shape(
        "The relay by itself",
        "envelopes of 512 B",
        (*ENVELOPES, ("x echo", "by_echo")),
        "Per core: per second of the relay's processor time. The echo is a plain one of the same WebSocket library.",
    ),
    "idle sessions": Shape(
        "Idle sessions of a relay",
        "relay with",
        (
            ("KiB each", "kib_each"),
            ("MiB in all", "mib"),
            ("sign-ins/s", "signins_per_s"),
            ("processor %", "processor_percent"),
        ),
        "Resident memory of the relay process alone; the processor time is pings.",
    ),
    "throughput": Shape(
        "Throughput beside idle sessions",
        "rmb.2, envelopes of 512 B",
        (*ENVELOPES, ("x few", "by_few")),
        "Two clients send and take; all others are silent.",
    ),
    "federation": Shape(
        "Across two relays",
        "requests",
        (
            *REQUESTS[:6],
            ("more ms", "p50_more_ms"),
            ("per s x one", "per_s_by_one"),
            ("processor x one", "cpu_by_one"),
            ("commands", "commands"),
        ),
        f"{PROCESSOR} Two relays are four stores and six processes beside one machine's cores.",
    ),
    "large": Shape(
        "While a payload of 16 MiB crosses",
        "small messages",
        (
            ("latency before, ms", "quiet_latency_ms"),
            ("latency then, ms", "latency_ms"),
            ("held up, ms", "held_up_ms"),
            ("gap before, ms", "quiet_gap_ms"),
            ("gap then, ms", "gap_ms"),
            ("the large one, ms", "large_ms"),
        ),
        "The longest of each. Gap: between two answers. The large one's own conversation waits, because order is kept.",
    ),
    "failover": Shape(
        "A relay that fails",
        "the relay is",
        (("longest gap before, ms", "gap_before_ms"), ("at and after it, ms", "gap_ms")),
        "Between two answers, all requests answered once.",
    ),
    "curve: sessions": Shape(
        "Cost against sessions", "envelopes of 512 B", (("relay µs", "relay_us"), ("Valkeys µs", "valkeys_us"))
    ),
    "curve: mailbox": Shape(
        "Cost against what waits in a mailbox",
        "envelopes of 512 B",
        (
            ("stored: relay µs", "relay_us"),
            ("Valkey µs", "valkeys_us"),
            ("fetched: relay µs", "fetched_relay_us"),
            ("Valkey µs", "fetched_valkeys_us"),
        ),
    ),
    "curve: list": Shape("Cost against what waits in the local list", "requests of 100 B", ON_CURVE, PROCESSOR),
    "curve: payload": Shape("Cost against the size of the payload", "16 in flight", ON_CURVE, PROCESSOR),
}


def tables(result: Result) -> list[Table]:
    """A table for each group of which there are cases."""
    return [
        Table(
            shape.title,
            (shape.first, *(head for head, _ in shape.columns)),
            [
                (entry.name, *(number(entry.figures[figure]) for _, figure in shape.columns))
                for entry in result.group(group)
            ],
            shape.note,
        )
        for group, shape in SHAPES.items()
        if result.group(group)
    ]


def number(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def heading(result: Result) -> str:
    """Machine, command and date, in a paragraph."""
    about = result.machine
    known = ("processor", "cores", "system", "python")
    versions = ", ".join(f"{name} {version}" for name, version in about.items() if name not in known)
    return (
        f"{result.began}; {about['processor']}, {about['cores']} cores, {about['system']}, Python {about['python']}; "
        f"{versions}. Medians of {result.rounds} rounds that took turns, {result.seconds:g} s for each run of "
        f"requests; {duration(result.took_s)} in all; load {result.load_before:.2f} before."
    )
