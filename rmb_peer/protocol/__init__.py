"""The pure core that gateway and relay share: bytes and values in, bytes and values out.

Nothing in this package does I/O or reads the clock, the environment or a random source: `now`, keys and random bytes
come in as arguments. It imports the standard library, protobuf and the cryptography libraries; nothing else of ours.
"""
