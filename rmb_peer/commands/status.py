"""`rmb-peer status`: is the gateway of this Redis running, connected, and keeping up.

It reads what the gateway publishes every few seconds, and says when that is old.
"""

import argparse
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import EXIT_OK, make_parser, print_fields, print_table
from rmb_peer.commands.payload_text import printable
from rmb_peer.commands.store_common import EXIT_NO_STORE, add_store_flags, print_json, with_store

if TYPE_CHECKING:
    from rmb_peer.local.looking import Store

PROG = "rmb-peer status"

EXIT_NOT_RUNNING, EXIT_NOT_CONNECTED, EXIT_STORE_REFUSES = 1, 3, 4

_EPILOG = f"""\
examples:
  rmb-peer status
  rmb-peer status --json | jq '.live.relays[] | {{url, connected, rtt_ms}}'
  rmb-peer status > /dev/null || systemctl restart rmb-peer

Facts that change are written by the gateway every five seconds. When they are older than fifteen they are called stale.
For "do messages really flow" see /readyz of --http.

--json: running, connected, stale, seen_s_ago, identity, live (relays, in_flight, counts, last_error, ...), depths,
oldest_s, store_problem.

exit codes:
  {EXIT_OK}  running, and connected to a relay
  {EXIT_NOT_RUNNING}  not running, or silent
  2  wrong usage
  {EXIT_NOT_CONNECTED}  running, but no relay is connected
  {EXIT_STORE_REFUSES}  running, but Redis refuses writes
  {EXIT_NO_STORE}  Redis cannot be used
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Show how the gateway on this Redis is doing.", _EPILOG)
    add_store_flags(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    return with_store(PROG, arguments.redis, lambda store: _status(store, arguments))


def _status(store: "Store", arguments: argparse.Namespace) -> int:
    status = store.status()
    relays = _relays(status["live"])
    status["connected"] = bool(status["running"]) and any(relay.get("connected") for relay in relays)
    if arguments.json:
        print_json(status)
    else:
        _print(status, relays)
    if not status["running"] or status["stale"]:
        refused = status["running"] and status["store_problem"]
        return EXIT_STORE_REFUSES if refused else EXIT_NOT_RUNNING
    if str(status["store_problem"] or "").startswith("refuses"):
        return EXIT_STORE_REFUSES
    return EXIT_OK if status["connected"] else EXIT_NOT_CONNECTED


def _print(status: dict[str, Any], relays: list[dict[str, Any]]) -> None:
    from rmb_peer.local.looking import clock_text, span_text

    identity, live = status["identity"], status["live"]
    running = "running" if status["running"] else "not running"
    if status["seen_s_ago"] is None:
        state = f"{running}; it never published a status"
    else:
        stale = "; what follows is stale" if status["stale"] else ""
        state = f"{running}, heard {span_text(status['seen_s_ago'])} ago{stale}"
    last_error = live.get("last_error") or {}
    depths, oldest_s = status["depths"], status["oldest_s"]
    store_problem = status["store_problem"] or live.get("store_trouble")
    fields = {
        "gateway": state,
        "twin": identity.get("twin", "unknown"),
        "account": identity.get("account", "unknown"),
        "key type": identity.get("key_type", "unknown"),
        "version": str(live.get("version") or identity.get("version", "unknown")),
        "running since": clock_text(live["started_at_s"]) if _number(live.get("started_at_s")) else "unknown",
        "bao engine": str(live.get("bao_engine") or identity.get("bao_engine", "unknown")),
        "in flight": f"{live.get('in_flight', 0)}, of which {live.get('waiting_for_relay', 0)} wait for a relay",
        **_workers(live.get("workers")),
        **{
            name: f"{number}, oldest {span_text(oldest_s[name])}" if name in oldest_s else str(number)
            for name, number in depths.items()
        },
        "last error": f"{clock_text(last_error['at_s'])} {last_error['text']}" if "at_s" in last_error else "none",
        "store": store_problem or "takes writes",
    }
    print_fields({name: printable(value) for name, value in fields.items()})
    if relays:
        print()
    rows = [
        (
            printable(str(relay.get("url"))),
            ("connected" if status["running"] else "was connected") if relay.get("connected") else "not connected",
            str(relay.get("link") or "-"),
            f"{relay['rtt_ms']} ms" if _number(relay.get("rtt_ms")) else "-",
            str(relay.get("unconfirmed", 0)),
            printable(str((relay.get("last_error") or {}).get("text", "none"))),
        )
        for relay in relays
    ]
    if rows:
        print_table(("relay", "state", "link", "round trip", "in flight", "last error"), rows, numbers={3, 4})


def _workers(workers: Any) -> dict[str, str]:
    if not isinstance(workers, dict):
        return {}
    running, wanted, jobs = (workers.get(name, 0) for name in ("running", "wanted", "jobs"))
    return {"workers": f"{running} of {wanted} run, {jobs} messages with them, {workers.get('replaced', 0)} replaced"}


def _relays(live: dict[str, Any]) -> list[dict[str, Any]]:
    relays = live.get("relays")
    return [relay for relay in relays if isinstance(relay, dict)] if isinstance(relays, list) else []


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
