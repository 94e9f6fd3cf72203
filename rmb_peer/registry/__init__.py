"""Who is twin N: which key, which relays. One contract (`base`), one backend per file; DESIGN.md tells the whole.

`open_registry` chooses the backend by URL. The tfchain backend (`--substrate wss://…`) belongs into `tfchain.py` here
and gets its line in `opening.py`.
"""
