"""A NATS operator with one account and one user: settings of the server, credentials file of the user."""

import base64
import json
from dataclasses import dataclass

import nkeys

_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


@dataclass(frozen=True)
class Operator:
    """What a server and a client need."""

    server_settings: str
    credentials: str


def make_operator() -> Operator:
    """Keys are fixed: they protect nothing but a server on loopback that lives for a moment."""
    operator = _pair(1, nkeys.PREFIX_BYTE_OPERATOR)
    account = _pair(2, nkeys.PREFIX_BYTE_ACCOUNT)
    user = _pair(3, nkeys.PREFIX_BYTE_USER)
    system = _pair(4, nkeys.PREFIX_BYTE_ACCOUNT)
    account_jwt = _jwt(operator, account, "account", {"limits": {"subs": -1, "conn": -1, "data": -1, "payload": -1}})
    system_jwt = _jwt(operator, system, "account", {"limits": {"subs": -1, "conn": -1, "data": -1, "payload": -1}})
    user_jwt = _jwt(account, user, "user", {"subs": -1, "data": -1, "payload": -1})
    operator_jwt = _jwt(operator, operator, "operator", {"system_account": system.public_key.decode()})
    return Operator(
        f"operator: {operator_jwt}\nresolver: MEMORY\nsystem_account: {system.public_key.decode()}\n"
        f"resolver_preload: {{\n  {account.public_key.decode()}: {account_jwt}\n"
        f"  {system.public_key.decode()}: {system_jwt}\n}}\n",
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n",
    )


def _pair(number: int, prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(bytes([number] * 32), prefix))


def _jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, kind: str, claims: dict[str, object]) -> str:
    body = {
        "jti": kind,
        "iat": 1_700_000_000,
        "iss": issuer.public_key.decode(),
        "name": kind,
        "sub": subject.public_key.decode(),
        "nats": claims | {"type": kind, "version": 2},
    }
    signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def _part(value: dict[str, object]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
