"""Which relays may post here: the decision. Pure; everything that counts comes in as a value.

| The post | is |
|---|---|
| signed, and the signature holds | accepted in the name of that relay |
| signed, and it does not hold | 401, whatever else is allowed |
| not signed, from an address of a listed relay | accepted in the name of that relay |
| not signed, otherwise | accepted with `--federation-open`, else 401 |

A signature says who it was, not that it is somebody good: anybody can own a domain. It makes limits and refusals count.
Relays of other makes take every 4xx as "destination offline", for ever (spec rmb 6.8), so those that cannot sign hear
503 when they only came too fast; ours hear 429.

This module refuses to know keys, sockets and clocks.
"""

import math
from dataclasses import dataclass

from relay.federation.signature import SCHEME, BadPostSignature, SignedPost
from relay.switch import Refusal

UNAUTHORIZED = 401  # RFC 9110, 15.5.2
TOO_MANY = 429  # RFC 6585, 4
UNAVAILABLE = 503  # RFC 9110, 15.6.4


@dataclass(frozen=True, slots=True)
class Caller:
    """Who posts.

    Attributes:
        name: of the relay; with an unknown one, its address.
        signed: whether it has proven its name.
        budget: what its rate is counted under; no name and address have the same.
    """

    name: str
    signed: bool
    budget: str


def admit_signed(claim: SignedPost) -> Caller:
    """Who posts, once the signature holds."""
    return Caller(claim.from_domain, True, f"relay {claim.from_domain}")


def admit_unsigned(address: str, listed: str | None, open_to_all: bool) -> Caller | Refusal:
    """Decide on a post without a signature.

    Args:
        address: where it comes from.
        listed: the listed relay that the address belongs to, if there is one.
        open_to_all: `--federation-open`.
    """
    if listed is not None:
        return Caller(listed, False, f"listed {listed}")
    if open_to_all:
        return Caller(address, False, address)
    return Refusal(
        "relay_unsigned",
        f"this relay takes messages of relays that sign what they post ({SCHEME}); its operator can accept one that "
        f"cannot: rmb-relay --federation-from NAME={address}",
        UNAUTHORIZED,
    )


def refuse_claim(claim: SignedPost, domains: frozenset[str], now_s: float) -> Refusal | None:
    """Why a signature cannot count, whatever key it was made with.

    Args:
        claim: what the header says.
        domains: the names of this relay.
        now_s: Unix seconds.
    """
    try:
        claim.check_addressee(domains)
        claim.check_time(now_s)
    except BadPostSignature as error:
        return bad_signature(str(error))
    if claim.from_domain in domains:  # a loop, or two relays with one name
        return bad_signature(f"the signature is in the name of this relay itself, {claim.from_domain}")
    return None


def bad_signature(text: str) -> Refusal:
    """A signature that does not count."""
    return Refusal("relay_signature", text, UNAUTHORIZED)


def wrong_signature(claim: SignedPost) -> Refusal:
    """A signature that the published key did not make."""
    return bad_signature(
        f"the signature was not made for this body with the relay_key of https://{claim.from_domain}/.well-known/rmb"
    )


def no_key(claim: SignedPost, text: str, final: bool, after_s: float) -> Refusal:
    """The key of the relay that is named cannot be had: never, or not now."""
    if final:
        return Refusal("relay_key", f"the signature of {claim.from_domain} cannot be checked: {text}", UNAUTHORIZED)
    wait_s = _whole(after_s)
    text = f"the signature of {claim.from_domain} cannot be checked: {text}; try again in {wait_s} s"
    return Refusal("relay_key", text, UNAVAILABLE, wait_s * 1000)


def too_fast(caller: Caller, per_minute: int, after_s: float) -> Refusal:
    """More posts than its rate allows."""
    wait_s = _whole(after_s)
    text = f"more than {per_minute} posts per minute from {caller.name}: try again in {wait_s} s"
    return Refusal("relay_rate", text, TOO_MANY if caller.signed else UNAVAILABLE, wait_s * 1000)


def _whole(seconds: float) -> int:
    """`Retry-After` has whole seconds (RFC 9110, 10.2.3)."""
    return max(1, math.ceil(seconds))
