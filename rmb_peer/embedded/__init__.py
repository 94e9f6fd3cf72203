"""Servers that come as Python wheels, started as child processes on loopback and stopped with us.

The code that talks to them is the same as for a server the operator runs.
"""
