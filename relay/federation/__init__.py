"""Relay to relay (spec rmb 6.8). Inbound is here; outbound, with its queue per relay, is not part of this version."""
