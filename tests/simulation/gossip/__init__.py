"""A simulated swarm of gossip nodes: scenario in, figures out. See DESIGN.md; `python -m tests.simulation.gossip`."""
