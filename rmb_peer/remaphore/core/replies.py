"""How answers are made and printed (spec remaphore 12, 14)."""

from rmb_peer.remaphore.core.text import trim_bytes, without_controls

NO_DATA = b"NO_DATA"
"""The answer of a receiver that runs no command."""

CUT_MARK_BYTES_MAX = 64


def answer(exit_code: int, output: bytes) -> bytes:
    """The payload of a receiver that ran a command; the output is not changed."""
    return b"%d,%s" % (exit_code, output)


def cut_mark(bytes_left_out: int) -> bytes:
    """What ends an output that did not fit into one NATS message (W9)."""
    return b"\n[remaphore: %d more bytes left out]\n" % bytes_left_out


def printed(name: bytes, payload: bytes, separator: str, terminal: bool) -> bytes:
    """One answer as it is written to standard output, in one write.

    Args:
        name: destination of the first peer entry with the sender's key.
        payload: as received.
        separator: 32 hexadecimal digits, the same for all answers of a run.
        terminal: whether control characters have to be escaped, because a person looks at it.
    """
    text = trim_bytes(payload)
    if text == NO_DATA:
        text = b"0," + text  # R2: three columns, always
    return block(name, text, separator, terminal)


def block(name: bytes, text: bytes, separator: str, terminal: bool) -> bytes:
    """`name,text` on a line, or between tags when the text has several lines."""
    line = b"%s,%s\n" % (name, text)
    if terminal:
        line = without_controls(line, keep="\n\t")
    if b"\n" not in text:
        return line
    tag = separator.encode()
    return b"--> %s\n%s--< %s\n" % (tag, line, tag)
