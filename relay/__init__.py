"""rmb-relay: carries envelopes between gateways that connect to it. It reads addresses, never payloads."""
