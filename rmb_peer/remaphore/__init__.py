"""remaphore: coordinate machines from the shell with signed messages over NATS. Wire compatible with the Go program.

`core` holds everything that needs no I/O; the other modules drive it. Nothing is imported here, because a command in a
shell loop pays for every import.
"""
