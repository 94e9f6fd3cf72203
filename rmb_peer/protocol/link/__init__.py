"""The acknowledged link rmb.2 between gateways and relays of ours: frames, windows, acknowledgement. See DESIGN.md."""
