"""Who is twin N: which key, which relays. One contract (`base`), one backend per file; DESIGN.md tells the whole.

`open_registry` chooses the backend by URL.
"""
