"""Twins on tfchain, the registry of the existing network (spec tfchain).

Blocking work runs on one thread of its own (`connection`); what a storage value means is decided by pure functions
(`storage`, `scale`, `records`); `registry` puts both together behind the contract of `registry/base.py`. Only `node`
and what it hands out import `substrate-interface`, and only when a node is dialled.
"""
