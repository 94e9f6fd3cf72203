"""Asyncio drivers that both programs share; no protocol rules in here."""
