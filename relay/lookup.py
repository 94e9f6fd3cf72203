"""A relay without a registry."""


class NoTwins:
    """No registry: nobody is known, so nobody can sign in."""

    def peek(self, twin_id: int) -> None:
        """See `registry.lookup.TwinLookup.peek`."""

    async def get(self, twin_id: int) -> None:
        """See `registry.lookup.TwinLookup.get`."""
