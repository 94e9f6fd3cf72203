"""Signing, sealing, verifying and opening in other processes (`--workers`), for hosts where one core is full.

`jobs` says what is asked and answered, `frames` how that is written into a pipe, `stage` in which order and how much of
it; these three are pure. `worker` is the process, `pool` starts, feeds and replaces several of them.

Processes and not threads, because py-sr25519-bindings holds the interpreter's lock for the whole of every call;
DESIGN.md has the measurement. Nothing is imported here: a worker shall start without what only the gateway needs.
"""

WORKERS_MAX = 64
"""More than one event loop can feed, since what is left in it costs more than what is given away; a guess."""
