"""`rmb-relay status`: how a running relay is doing, from what it tells everybody.

It reads `/metrics` twice, `/readyz` and `/.well-known/rmb`, and refuses to know anything that only the relay knows.
"""

import argparse
import json
import time
from math import isfinite
from typing import Any

from relay.commands.common import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    GREEN,
    RED,
    YELLOW,
    complain,
    make_parser,
    print_fields,
    print_table,
)
from relay.commands.scrape import Samples, Unreachable, get_json, get_samples
from relay.config import LISTEN_PORT

NAME = "status"
URL = f"http://127.0.0.1:{LISTEN_PORT}"
LAST_ERROR = "relay_federation_last_error"
"""Unix seconds of the last failure of a remote relay; a second label says what it was."""

INTERVAL_S_MAX = 3600.0

_EPILOG = f"""\
examples:
  rmb-relay status
  rmb-relay status --url https://relay.example.org
  rmb-relay status --admin-url http://127.0.0.1:9090        (for a relay with --admin-listen)
  rmb-relay status --json | jq .federation

--json: ready (status, reason, step, latency_ms), version, uptime_s, sessions, rates, totals, stored, refusals,
federation (per remote relay), registry.

exit codes:
  {EXIT_OK}  ready: messages travel through it
  {EXIT_FAILED}  not ready; the line "readiness" says why
  {EXIT_USAGE}  wrong usage, or no relay answers
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(NAME, "Show how a running relay is doing.", _EPILOG)
    parser.add_argument("--url", default=URL, help="of the relay (default: %(default)s)")
    parser.add_argument("--admin-url", metavar="URL", help="where its metrics are, if not there (default: --url)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--interval-s",
        type=_interval,
        default=1.0,
        metavar="SECONDS",
        help="time between the two looks that rates are made of; 0: look once (default: %(default)g)",
    )
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    admin_url = arguments.admin_url or arguments.url
    try:
        code, ready = get_json(admin_url, "/readyz")  # first, since its probe would count as a message
        first, first_at_s = get_samples(admin_url), time.monotonic()
        _, well_known = get_json(arguments.url, "/.well-known/rmb")
        second, span_s = None, 0.0
        if arguments.interval_s:
            time.sleep(max(0.0, arguments.interval_s - (time.monotonic() - first_at_s)))
            second, span_s = get_samples(admin_url), time.monotonic() - first_at_s
    except Unreachable as error:
        complain(NAME, str(error))
        return EXIT_USAGE
    if code not in (200, 503):
        ready = {"status": "unknown", "reason": f"it answers {code} to /readyz"}
    status = summary(first, second, span_s, ready, well_known, time.time())
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        _print(status)
    return EXIT_OK if code == 200 else EXIT_FAILED


def summary(
    first: Samples,
    second: Samples | None,
    span_s: float,
    ready: dict[str, Any],
    well_known: dict[str, Any],
    now_s: float,
) -> dict[str, Any]:
    """What is told, as JSON has it. Numbers that the relay does not tell are `None`, or missing from tables.

    Args:
        first, second: metrics, `span_s` apart; `second` is `None` if they were read once.
        span_s: seconds between them.
        ready: what `/readyz` says.
        well_known: what `/.well-known/rmb` says.
        now_s: Unix seconds.
    """
    latest = second or first
    started_s = latest.total("process_start_time_seconds")
    rates = None if second is None else {way: _rate(first, second, way, span_s) for way in ("in", "out")}
    federation = {remote: _remote(latest, remote, row, now_s) for remote, row in sorted(latest.by("relay").items())}
    refusals = {reason: row.get("relay_refusals") for reason, row in sorted(latest.by("reason").items())}
    return {
        "ready": ready,
        "version": well_known.get("software"),
        "uptime_s": None if started_s is None else max(0.0, round(now_s - started_s, 1)),
        "sessions": latest.total("relay_worker_connections"),
        "rates": rates,
        "totals": {"in": _carried(latest, "in"), "out": _carried(latest, "out")},
        "stored": {
            name.removeprefix("relay_stored_"): latest.total(name)
            for name in sorted({name for name, _ in latest.values if name.startswith("relay_stored_")})
        },
        "refusals": {reason: count for reason, count in refusals.items() if count},
        "federation": federation,
        "registry": _registry(latest, well_known),
    }


def _remote(samples: Samples, remote: str, row: dict[str, float], now_s: float) -> dict[str, Any]:
    """One remote relay, with every number that has its name on it."""
    told: dict[str, Any] = {_short(name): value for name, value in sorted(row.items()) if not name.endswith("_created")}
    if (failure := samples.newest(LAST_ERROR, "relay", remote)) is not None:
        at_s, labels = failure
        told[_short(LAST_ERROR)] = {"ago_s": max(0.0, round(now_s - at_s, 1)), "reason": labels.get("reason", "")}
    return told


def _carried(samples: Samples, way: str) -> float | None:
    """Envelopes so far. What came is either stored or handed over from memory, or both."""
    if way == "out":
        return samples.total("relay_message_tx")
    stored = samples.total("relay_message_rx")
    if stored is None:
        return None
    return stored + (samples.total("relay_direct") or 0) - (samples.total("relay_backed_up") or 0)


def _rate(first: Samples, second: Samples, way: str, span_s: float) -> float | None:
    before, after = _carried(first, way), _carried(second, way)
    if before is None or after is None or after < before:  # it was restarted in between
        return None
    return round((after - before) / span_s, 1)


def _registry(samples: Samples, well_known: dict[str, Any]) -> dict[str, Any]:
    block = samples.total("events_listener_last_processed_block_number")
    chain = None
    if block:
        chain = {"block": int(block), "following": not samples.total("events_listener_reconnecting")}
    return {
        "offered": well_known.get("registry"),
        "twins_remembered": samples.total("rmb_cache_entries"),
        "chain": chain,
    }


def _short(name: str) -> str:
    for prefix in ("relay_outbox_", "relay_federation_", "federation_", "relay_"):
        name = name.removeprefix(prefix)
    return name


def _print(status: dict[str, Any]) -> None:
    ready, rates, totals = status["ready"], status["rates"] or {}, status["totals"]
    good = ready.get("status") == "ready"
    if good:
        state = f"ready: a message travelled through it in {ready.get('latency_ms')} ms"
    else:
        state = f"{ready.get('status', 'unknown')}: {ready.get('reason', 'it does not say why')}"
        if "step" in ready:
            state += f" (step: {ready['step']})"
    registry = status["registry"]
    chain = registry["chain"]
    twins = f"{_number(registry['twins_remembered'])} twins remembered"
    where = f"at {registry['offered']}" if registry["offered"] else "not offered to clients"
    fields = [
        ("readiness", state, GREEN if good else RED),
        ("version", str(status["version"] or "unknown"), ""),
        ("running for", _span(status["uptime_s"]), ""),
        ("sessions", _number(status["sessions"]), ""),
        ("in", _flow(rates.get("in"), totals["in"]), ""),
        ("out", _flow(rates.get("out"), totals["out"]), ""),
        ("registry", f"{where}; {twins}", ""),
    ]
    if chain:
        shown = "following it" if chain["following"] else "not following it"
        fields.append(("chain", f"block {chain['block']}, {shown}", "" if chain["following"] else YELLOW))
    if status["stored"]:
        fields.append(("stored", ", ".join(f"{_number(n)} {name}" for name, n in status["stored"].items()), ""))
    if not status["refusals"]:
        fields.append(("refusals", "none", ""))
    print_fields(fields)
    if status["refusals"]:
        print()
        rows = sorted(status["refusals"].items(), key=lambda row: -row[1])
        print_table(("refused because of", "times"), [(reason, _number(n)) for reason, n in rows], numbers={1})
    if federation := status["federation"]:
        names = sorted({name for row in federation.values() for name in row})
        print()
        rows_of_remotes = [(remote, *(_cell(row.get(n)) for n in names)) for remote, row in federation.items()]
        heads = ("remote relay", *(name.replace("_", " ") for name in names))
        print_table(heads, rows_of_remotes, numbers=range(1, len(heads)))


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['reason']} {_span(value['ago_s'])} ago".strip()
    return _number(value)


def _number(value: float | None) -> str:
    if value is None or not isfinite(value):
        return "-"
    return f"{int(value)}" if value == int(value) else f"{value:.3f}"


def _flow(rate: float | None, total: float | None) -> str:
    now = "" if rate is None else f"{rate:g} messages a second, "
    return f"{now}{_number(total)} since its start"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{int(seconds)} s"


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= INTERVAL_S_MAX:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number of seconds from 0 to {INTERVAL_S_MAX:g}")
    return seconds
