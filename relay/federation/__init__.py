"""Relay to relay (spec rmb 6.8): what others post to us, and what waits to be posted to others."""
