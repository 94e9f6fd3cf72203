"""The pure parts of remaphore: grammar, wire format, rules. No network, clock, files or randomness of their own."""
