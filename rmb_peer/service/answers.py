"""From a request to the environment of a program, and from its result to the error that it means. Pure.

It refuses to know how programs run and where answers go.
"""

from collections.abc import Mapping

from rmb_peer.sdk.errors import FAILED, TOOK_TOO_LONG
from rmb_peer.sdk.handling import Request
from rmb_peer.secret_source import SECRET_VARIABLE
from rmb_peer.service.program import Ending, Result

TOO_LARGE = 413
"""As in HTTP, so that nobody has to look it up."""


def environment_for(request: Request, base: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The environment of a program that answers `request`.

    Args:
        request: what is asked.
        base: our own environment; the variable that may hold our secret is left out.

    Returns:
        `base` with RMB_SRC, RMB_CMD, RMB_REF, RMB_TAG and RMB_SCHEMA; absent optionals are empty. NUL bytes, which an
        environment cannot hold, are left out.
    """
    fields = {
        "RMB_SRC": request.source,
        "RMB_CMD": request.command,
        "RMB_REF": request.uid,
        "RMB_TAG": request.tag or "",
        "RMB_SCHEMA": request.schema or "",
    }
    kept = {name: value for name, value in base.items() if name != SECRET_VARIABLE.encode()}
    return kept | {name.encode(): value.replace("\0", "").encode() for name, value in fields.items()}


def error_of(result: Result) -> tuple[int, str] | None:
    """Code and text for a program that failed; `None` for exit code 0.

    The code is the program's own exit code. Programs that did not get to choose one have a code as in HTTP.
    """
    if result.ending is Ending.EXITED:
        if result.code == 0:
            return None
        return result.code, result.complaint or f"the program ended with exit code {result.code}"
    if result.ending is Ending.KILLED_BY_SIGNAL:
        return FAILED, _with("the program was ended by signal " + str(result.code), result.complaint)
    if result.ending is Ending.TIMED_OUT:
        return TOOK_TOO_LONG, _with("the program took too long", result.complaint)
    if result.ending is Ending.OUTPUT_TOO_LARGE:
        return TOO_LARGE, _with("the program's output is too large", result.complaint)
    return FAILED, result.complaint


def _with(text: str, complaint: str) -> str:
    return f"{text}: {complaint}" if complaint else text
