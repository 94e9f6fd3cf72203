"""What a refusal looks like over HTTP: status, text, `Retry-After`, and `RMB-Refusal` with the short reason.

By the last header a gateway tells a refusal of a relay from one of a web server in front of it.
"""

from http import HTTPStatus

from rmb_peer import __version__
from rmb_peer.transport.refused import REFUSAL_HEADER

SERVER = f"rmb-relay/{__version__}"


def refusal_headers(reason: str, retry_after_s: int | None = None) -> dict[str, str]:
    """The headers that go with a refusal."""
    headers = {REFUSAL_HEADER: reason}
    return headers if retry_after_s is None else {**headers, "Retry-After": str(retry_after_s)}


def refusal_text(status: int, text: str, retry_after_s: int | None = None, reason: str | None = None) -> bytes:
    """A whole HTTP answer, for connections on which no request has been read."""
    body = text.encode()
    headers = {"Server": SERVER, "Content-Length": str(len(body)), "Connection": "close"}
    if reason is not None:
        headers[REFUSAL_HEADER] = reason
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
