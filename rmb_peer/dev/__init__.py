"""A whole network on one machine, for `rmb-peer dev`: real processes, real stores, one message followed on its way."""
