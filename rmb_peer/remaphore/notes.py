"""What is told on standard error, in the forms of the Go program (spec remaphore 15, 16)."""

import sys
import time

from rmb_peer.remaphore.core.text import to_bytes, without_controls


class Notes:
    """Lines on standard error; control characters of others never reach the terminal (W21)."""

    def __init__(self, program: str) -> None:
        self._program = program

    def log(self, text: str | bytes) -> None:
        """A line with the local time in front."""
        self._write(time.strftime("%Y/%m/%d %H:%M:%S "), text)

    def error(self, text: str | bytes) -> None:
        """Why the program ends."""
        self._write(f"{self._program}: ERROR: ", text)

    def say(self, text: str | bytes) -> None:
        """A line about the command line, or for somebody who waits."""
        self._write(f"{self._program}: ", text)

    def _write(self, front: str, text: str | bytes) -> None:
        raw = text if isinstance(text, bytes) else to_bytes(text)
        line = front.encode() + without_controls(raw, keep="\n\t") + b"\n"
        if sys.stderr is None:
            return  # closed by whoever started us
        try:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
        except OSError:
            return  # nobody listens to standard error; that must not change what the program does
