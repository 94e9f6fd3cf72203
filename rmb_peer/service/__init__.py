"""Answering requests with a program, for `rmb-peer serve`: a local program's side of the Redis API."""
