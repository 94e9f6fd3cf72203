"""A stand-in for `redis-cli -h HOST -p PORT COMMAND ARGS...`, for machines that have none. The server is a real one."""

import sys
from typing import Any

from redis import Redis


def main(arguments: list[str]) -> None:
    """Send one command and print the reply as redis-cli does in a pipe."""
    assert (arguments[0], arguments[2]) == ("-h", "-p")
    redis: Any = Redis(arguments[1], int(arguments[3]), socket_timeout=30)  # this method has no annotations
    reply = redis.execute_command(*arguments[4:])
    for value in reply if isinstance(reply, list | tuple) else [reply]:
        print(value.decode() if isinstance(value, bytes) else value)


if __name__ == "__main__":
    main(sys.argv[1:])
