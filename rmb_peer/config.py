"""What a gateway is told at start: flags, environment and a TOML file, into one frozen value.

A flag wins over the environment, the environment over the file, the file over the default. The secret itself is read
elsewhere (`secret_source`) and never part of this value.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from rmb_peer.journal import AGE_S_DEFAULT, BYTES_DEFAULT
from rmb_peer.logs import LogFormat
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import RELAYS_MAX, relay_of_url
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from rmb_peer.registry.tfchain.urls import check_node_urls
from rmb_peer.workers import WORKERS_MAX

CONFIG_BYTES_MAX = 1024 * 1024
"""A guess: nobody writes a megabyte of settings by hand."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Settings of one gateway. The names are those of the flags, with `_` for `-`.

    Attributes:
        key_type: scheme of the signing key; sr25519 is what the existing network uses.
        redis: URL of the store, or `embedded` or `embedded:PORT` for one that is started here.
        data: folder of the embedded store.
        relay: URLs, preferred first; the port of `rmb-relay` when none is given.
        relay_ticket_file: file with the tickets for relays that ask for one, see `transport.tickets`.
        registry: URL of the registry of twins; `None` means the one that the first relay offers.
        substrate: nodes of tfchain, preferred first; they take the place of `registry`.
        no_update: do not write our own record.
        overwrite_relays: let our record on the chain lose relays that this gateway does not use.
        mnemonic_file: file that holds the secret.
        message_bytes_max: largest serialised envelope, see `envelope.MESSAGE_BYTES_MAX`.
        http: `HOST:PORT` for metrics and health; `None` offers none.
        journal_bytes: how much of the journal is kept; 0 keeps none.
        journal_age: for how many seconds.
        workers: processes that sign, seal, verify and open; 0: the gateway does it itself.
        debug: 0, 1 or 2, see `logs.setup_logging`.
        log_format: see `logs.setup_logging`.
    """

    key_type: KeyType = "sr25519"
    redis: str = "redis://localhost:6379"
    data: Path = field(default=Path("rmb-data"))
    relay: tuple[str, ...] = ("ws://localhost:8080",)
    relay_ticket_file: Path | None = None
    registry: str | None = None
    substrate: tuple[str, ...] = ()
    no_update: bool = False
    overwrite_relays: bool = False
    mnemonic_file: Path | None = None
    message_bytes_max: int = MESSAGE_BYTES_MAX
    http: str | None = None
    journal_bytes: int = BYTES_DEFAULT
    journal_age: int = AGE_S_DEFAULT
    workers: int = 0
    debug: int = 0
    log_format: LogFormat = "auto"

    @property
    def relay_names(self) -> frozenset[str]:
        """The relays as our record lists them."""
        return frozenset(relay_of_url(url) for url in self.relay)

    @property
    def registry_urls(self) -> tuple[str, ...]:
        """What `open_registry` is to open."""
        return self.substrate or (self.registry or "relay:",)

    def check(self) -> "GatewayConfig":
        """Return this value if it makes sense.

        Raises:
            BadRequest: names the setting and what it should be.
        """
        if self.key_type not in KEY_TYPES:
            raise BadRequest(f"key-type must be one of {', '.join(KEY_TYPES)}, not {self.key_type!r}")
        if not 1 <= len(self.relay) <= RELAYS_MAX:
            raise BadRequest(f"the number of relays should not exceed {RELAYS_MAX}, and there must be one")
        for url in self.relay:
            relay_of_url(url)
        if len(set(self.relay)) != len(self.relay):
            raise BadRequest("a relay is listed twice")
        if self.workers > WORKERS_MAX:
            raise BadRequest(f"workers must be at most {WORKERS_MAX}, not {self.workers}")
        if self.substrate:
            check_node_urls(self.substrate)
            if self.registry is not None:
                raise BadRequest("give either --substrate or --registry, not both")
        if self.redis != "embedded" and not self.redis.startswith(("redis://", "rediss://", "unix://", "embedded:")):
            raise BadRequest(f"redis must be redis://…, rediss://…, unix://… or embedded[:PORT], not {self.redis!r}")
        return self


def merge(base: GatewayConfig, settings: Mapping[str, Any], origin: str) -> GatewayConfig:
    """`base` with some settings changed.

    Args:
        base: what holds otherwise.
        settings: by name, with `-` or `_`; values of `None` change nothing.
        origin: where the settings come from, for error texts.

    Raises:
        BadRequest: an unknown name or a value of the wrong type.
    """
    defaults = {item.name: getattr(GatewayConfig(), item.name) for item in fields(GatewayConfig)}
    changes: dict[str, Any] = {}
    for given_name, value in settings.items():
        name = given_name.replace("-", "_")
        if value is None:
            continue
        if name not in defaults:
            known = ", ".join(sorted(key.replace("_", "-") for key in defaults))
            raise BadRequest(f"{origin}: unknown setting {given_name!r}; known are {known}")
        changes[name] = _typed(name, value, origin)
    if "substrate" in changes:  # both name the registry of twins: the one said last holds
        changes.setdefault("registry", None)
    elif "registry" in changes:
        changes["substrate"] = ()
    return replace(base, **changes)


def read_config_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        BadRequest: it cannot be read; says where.
    """
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise BadRequest(f"cannot read the configuration {path}: {error.strerror}") from None
    if len(text) > CONFIG_BYTES_MAX:
        raise BadRequest(f"the configuration {path} is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        settings = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the configuration {path} is not TOML: {error}") from None
    if "mnemonic" in settings:
        raise BadRequest(f"{path}: put the mnemonic into a file of its own and name it with mnemonic-file")
    return settings


def _typed(name: str, value: Any, origin: str) -> Any:
    match name:
        case "relay" | "substrate":
            values = [value] if isinstance(value, str) else value
            if not isinstance(values, (list, tuple)) or not all(isinstance(item, str) for item in values):
                raise BadRequest(f"{origin}: {name} must be a URL or a list of URLs")
            return tuple(values)
        case "data" | "mnemonic_file" | "relay_ticket_file":
            if not isinstance(value, (str, Path)):
                raise BadRequest(f"{origin}: {name.replace('_', '-')} must be a path")
            return Path(value)
        case "message_bytes_max" | "journal_bytes" | "journal_age" | "workers" | "debug":
            if type(value) is not int or value < 0:
                raise BadRequest(f"{origin}: {name.replace('_', '-')} must be a number, 0 or more")
            return value
        case "no_update" | "overwrite_relays":
            if not isinstance(value, bool):
                raise BadRequest(f"{origin}: {name.replace('_', '-')} must be true or false")
            return value
        case "key_type":
            return cast(KeyType, str(value).lower())
        case _:
            if not isinstance(value, str):
                raise BadRequest(f"{origin}: {name.replace('_', '-')} must be a text")
            return value
