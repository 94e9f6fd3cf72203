"""The curves of a result, as a picture. Pure."""

from tests.benchmarks.picture import Chart, Line, picture
from tests.benchmarks.result import Result

TITLE = "Processor time per message"
ENVELOPE, REQUEST = "µs per envelope of 512 B", "µs per request and response"
RELAY = (("relay", "relay_us"),)
FETCHED = (("relay, fetched", "fetched_relay_us"), ("Valkey, fetched", "fetched_valkeys_us"))
STORED = (("relay, stored", "relay_us"), ("Valkey, stored", "valkeys_us"))
ROLES = (("gateways", "gateways_us"), ("relay", "relay_us"), ("Valkeys", "valkeys_us"), ("floor", "floor_us"))

LEAST_US = 0.1
"""Less is drawn as this: zero has no logarithm, and a store that has next to nothing to do may show it."""

CHARTS = (
    ("curve: sessions", "Connected sessions", "sessions", ENVELOPE, RELAY, False),
    ("curve: mailbox", "Messages in the mailbox", "envelopes that wait", ENVELOPE, (*STORED, *FETCHED), False),
    ("curve: list", "Messages in the local list", "requests that wait or are on their way", REQUEST, ROLES, False),
    ("curve: payload", "Size, 16 in flight", "payload", REQUEST, ROLES, True),
)


def curves(result: Result) -> str | None:
    """An SVG document; `None` if no curve was measured."""
    charts = [
        Chart(
            title,
            x_label,
            y_label,
            [
                Line(name, [(one.figures["x"], max(LEAST_US, one.figures[figure])) for one in result.group(group)])
                for name, figure in lines
            ],
            in_bytes,
        )
        for group, title, x_label, y_label, lines, in_bytes in CHARTS
        if result.group(group)
    ]
    return picture(TITLE, charts) if charts else None
