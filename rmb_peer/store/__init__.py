"""Our own connection to a store that speaks the Redis protocol, for paths where every round trip counts."""
