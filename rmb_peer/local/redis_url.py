"""What every part says about a Redis URL in the same way. It refuses to know what is stored there."""

from urllib.parse import urlsplit, urlunsplit

REDIS_DEFAULT = "redis://localhost:6379"
"""Spec rmb 8.1."""

REDIS_VARIABLE = "RMB_REDIS"
"""Environment variable that says where the gateway's Redis is."""

CONNECT_S_MAX = 5.0
"""Longest wait for a connection; a guess, generous for a store that should be near."""


def public_url(url: str) -> str:
    """The URL without user name, password and parameters, for errors and logs."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no valid URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
