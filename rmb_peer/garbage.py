"""How often a server looks for garbage in cycles. Shared by gateway and relay."""

import gc

GARBAGE_OBJECTS = 20_000
"""Objects made and kept that start a search for garbage; a guess: a batch of envelopes makes some thousand."""


def collect_seldom() -> None:
    """Look for garbage in cycles less often, and not among what is there now: to be called when a server has started.

    Messages make none, but 700 of the objects that they are carried in start a search, and every hundredth of those
    goes through all there is.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 50)
