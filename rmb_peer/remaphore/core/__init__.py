"""The pure parts of remaphore: grammar, wire format, rules. No network, no clock, no files, no randomness of their own."""
