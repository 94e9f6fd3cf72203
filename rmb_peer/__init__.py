"""rmb-peer: a message gateway. Programs push plain JSON onto Redis lists; this carries it, signed and encrypted."""

__version__ = "0.1.0"
__all__ = ["__version__"]
