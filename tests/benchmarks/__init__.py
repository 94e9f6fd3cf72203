"""Measurements. They are programs, not tests: `python -m tests.benchmarks.NAME`."""
