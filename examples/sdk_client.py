"""A client with the Python SDK: asks several twins at the same time and prints each answer as it comes.

    python sdk_client.py redis://HOST:PORT TWIN[,TWIN...] COMMAND [JSON]

Exit code: 0 all answered, 1 some did not, 2 wrong usage.
"""

import json
import sys

from rmb_peer.sdk import Answer, Call, Outcome, StoreUnavailable, SyncClient


def show(outcome: Outcome, done: int, total: int) -> None:
    if isinstance(outcome, Answer):
        print(f"{done}/{total} twin {outcome.twin}: {outcome.json()} in {outcome.seconds * 1000:.0f} ms")
    else:
        print(f"{done}/{total} {outcome}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 4):
        print("usage: python sdk_client.py redis://HOST:PORT TWIN[,TWIN...] COMMAND [JSON]", file=sys.stderr)
        return 2
    redis_url, twins, command = arguments[:3]
    payload = json.loads(arguments[3]) if len(arguments) == 4 else None
    with SyncClient(redis_url) as client:
        calls = Call.each(map(int, twins.split(",")), command, payload)
        endings = client.call_many(calls, timeout_s=30, progress=show)
    return 0 if all(isinstance(ending, Answer) for ending in endings) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (StoreUnavailable, ValueError) as error:
        sys.exit(f"sdk_client.py: {error}")
