"""A stand-in for `redis-cli -h HOST -p PORT [COMMAND ARGS...]`, for machines that have none. The server is a real one.

Without a command it reads them from standard input, one on each line, words separated by blanks or in single quotes.
"""

import re
import sys
from typing import Any

from redis import Redis

WORD = re.compile(r"'((?:\\'|[^'])*)'|(\S+)")


def words(line: str) -> list[str]:
    """The words of a line."""
    return [plain or quoted.replace("\\'", "'") for quoted, plain in WORD.findall(line)]


def main(arguments: list[str]) -> None:
    """Send commands and print the replies as redis-cli does in a pipe."""
    assert (arguments[0], arguments[2]) == ("-h", "-p")
    client: Any = Redis(arguments[1], int(arguments[3]), socket_timeout=None, single_connection_client=True)
    commands = [arguments[4:]] if len(arguments) > 4 else [words(line) for line in sys.stdin]
    connection = client.connection  # below the client's own parsing, which EXEC alone would confuse
    for command in commands:
        connection.send_command(*command)
        reply = connection.read_response()
        for value in reply if isinstance(reply, list | tuple) else [reply]:
            print("" if value is None else value.decode() if isinstance(value, bytes) else value)


if __name__ == "__main__":
    main(sys.argv[1:])
