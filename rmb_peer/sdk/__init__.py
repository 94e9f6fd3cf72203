"""The Python SDK: ask twins, answer them, beside any RMB gateway or without one.

| name | for |
|---|---|
| `Client`, `SyncClient` | asking through the gateway on this Redis |
| `Service` | answering, behind the gateway on this Redis; loses nothing when it dies |
| `DirectClient` | asking and answering without gateway and Redis |
| `Call`, `Answer`, `Request`, `Payload` | what goes in and comes out |
| `ServiceError` | what a handler raises to say no |
| `CallError` and its kinds, `StoreUnavailable`, `RelayUnavailable` | how it fails |

Each name is imported when it is first used: a client on Redis never loads the cryptography of the direct one.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmb_peer.sdk.calls import Answer as Answer
    from rmb_peer.sdk.calls import Call as Call
    from rmb_peer.sdk.calls import Outcome as Outcome
    from rmb_peer.sdk.client import Client as Client
    from rmb_peer.sdk.direct import DirectClient as DirectClient
    from rmb_peer.sdk.errors import BadAnswer as BadAnswer
    from rmb_peer.sdk.errors import CallError as CallError
    from rmb_peer.sdk.errors import GatewayError as GatewayError
    from rmb_peer.sdk.errors import MessageExpired as MessageExpired
    from rmb_peer.sdk.errors import NoAnswer as NoAnswer
    from rmb_peer.sdk.errors import NotTaken as NotTaken
    from rmb_peer.sdk.errors import RelayError as RelayError
    from rmb_peer.sdk.errors import RelayUnavailable as RelayUnavailable
    from rmb_peer.sdk.errors import RemoteError as RemoteError
    from rmb_peer.sdk.errors import RmbSdkError as RmbSdkError
    from rmb_peer.sdk.errors import ServiceError as ServiceError
    from rmb_peer.sdk.errors import StoreUnavailable as StoreUnavailable
    from rmb_peer.sdk.errors import UnknownTwin as UnknownTwin
    from rmb_peer.sdk.handling import Request as Request
    from rmb_peer.sdk.payloads import Payload as Payload
    from rmb_peer.sdk.service import Service as Service
    from rmb_peer.sdk.sync import SyncClient as SyncClient

_ERRORS = (
    "BadAnswer", "CallError", "GatewayError", "MessageExpired", "NoAnswer", "NotTaken", "RelayError",
    "RelayUnavailable", "RemoteError", "RmbSdkError", "ServiceError", "StoreUnavailable", "UnknownTwin",
)  # fmt: skip
_HOMES = {
    "Answer": "calls",
    "Call": "calls",
    "Client": "client",
    "DirectClient": "direct",
    "Outcome": "calls",
    "Payload": "payloads",
    "Request": "handling",
    "Service": "service",
    "SyncClient": "sync",
    **dict.fromkeys(_ERRORS, "errors"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"rmb_peer.sdk.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
