"""The side that local programs see: Redis lists and the JSON on them (spec rmb 5)."""
