"""Gossip among gateways: topic membership (HyParView) and broadcast (PlumTree), without I/O. See DESIGN.md."""
