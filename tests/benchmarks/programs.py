"""The programs on both sides of a benchmark: one asks, one answers, each a process of its own.

    python -m tests.benchmarks.programs answer REDIS_PORT COMMAND
    python -m tests.benchmarks.programs ask REDIS_PORT COMMAND TWIN

They speak the Redis API of the gateway over a plain socket, with a C parser and one write for everything that there is
to say, so that they take as little as possible from what is measured. The one that asks reads a JSON object with
`in_flight`, `payload_bytes` and `duration_s` per line of standard input, and writes one with what it saw.
"""

import base64
import json
import os
import socket
import sys
import time
from typing import Any

import hiredis
import orjson

ANSWERS = "bench-answers"
BATCH_MAX = 256
READ_BYTES = 1024 * 1024
PATIENCE_S = 60.0
LIFE_S = 600


class Store:
    """One connection: commands out in one write, answers in their order."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def send(self, *commands: tuple[Any, ...]) -> None:
        self._socket.sendall(b"".join(map(hiredis.pack_command, commands)))

    def answer(self) -> Any:
        while (value := self._reader.gets()) is False:
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise SystemExit("the store has closed the connection")
            self._reader.feed(data)
        if isinstance(value, Exception):
            raise SystemExit(f"the store refuses: {value}")
        return value


def answer(port: int, command: str) -> None:
    """Echo every request, until the process is ended."""
    store = Store(port)
    take = (b"BLMPOP", b"0", b"1", f"msgbus.{command}".encode(), b"RIGHT", b"COUNT", str(BATCH_MAX).encode())
    store.send(take)
    while True:
        _, items = store.answer()
        replies = [_reply(orjson.loads(item)) for item in items]
        store.send((b"LPUSH", b"msgbus.system.reply", *replies), take)
        store.answer()


def _reply(request: dict[str, Any]) -> bytes:
    fields = {
        "ver": 1,
        "ref": request["ref"],
        "dat": request["dat"],
        "dst": request["src"],
        "shm": "application/octet-stream",
        "now": int(time.time()),
        "err": None,
    }
    return orjson.dumps(fields)


class Asker:
    """Keeps a number of requests in flight."""

    def __init__(self, port: int, command: str, twin: int) -> None:
        self._store = Store(port)
        self._command = command
        self._twin = twin

    def run(self, in_flight: int, payload_bytes: int, duration_s: float) -> dict[str, Any]:
        """Ask for some time, then wait for what is still in flight.

        Returns:
            `answers` and `took_s`, all of them, from the first question to the last answer; `latencies_s` of each
            answer within the time, sorted; `errors`, the texts of those that failed.
        """
        data = base64.b64encode(os.urandom(payload_bytes)).decode()
        begin_s = time.perf_counter()
        end_s = begin_s + duration_s
        flying, answers = in_flight, 0
        latencies_s: list[float] = []
        errors: list[str] = []
        self._ask(in_flight, data)
        self._take()
        self._store.answer()
        while True:
            got = self._store.answer()
            if got is None:
                raise SystemExit(f"no answer for {PATIENCE_S:g} s, {flying} in flight")
            now_s = time.perf_counter()
            for item in got[1]:
                fields = orjson.loads(item)
                if fields["err"] is not None:
                    errors.append(fields["err"]["message"])
                latencies_s.append(now_s - float(fields["ref"]))
            answers += len(got[1])
            flying -= len(got[1])
            if now_s < end_s:
                self._ask(len(got[1]), data)
                flying += len(got[1])
                self._take()
                self._store.answer()
            elif flying:
                self._take()
            else:
                break
        return {
            "answers": answers,
            "took_s": time.perf_counter() - begin_s,
            "latencies_s": sorted(latencies_s),
            "errors": errors[:3],
            "errors_count": len(errors),
        }

    def _ask(self, count: int, data: str) -> None:
        asked = [self._request(data) for _ in range(count)]
        self._store.send((b"LPUSH", b"msgbus.system.local", *asked))

    def _request(self, data: str) -> bytes:
        fields = {
            "ver": 1,
            "ref": repr(time.perf_counter()),
            "cmd": self._command,
            "exp": LIFE_S,
            "dat": data,
            "tag": None,
            "dst": [self._twin],
            "ret": ANSWERS,
            "shm": "application/octet-stream",
            "now": int(time.time()),
        }
        return orjson.dumps(fields)

    def _take(self) -> None:
        self._store.send(
            (b"BLMPOP", str(PATIENCE_S).encode(), b"1", ANSWERS.encode(), b"RIGHT", b"COUNT", str(BATCH_MAX).encode())
        )


def ask(port: int, command: str, twin: int) -> None:
    """Measure as often as told, until standard input ends."""
    asker = Asker(port, command, twin)
    for line in sys.stdin:
        print(json.dumps(asker.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    what, port, command, *rest = sys.argv[1:]
    if what == "answer":
        answer(int(port), command)
    else:
        ask(int(port), command, int(rest[0]))
