"""Whole networks of the pure cores in one process, with simulated time. Run one: `python -m tests.simulation.NAME`."""
