"""Decisions: pure functions over a snapshot. No kopf, no IO, no asyncio, no clock of its own.

`facts` says what a snapshot holds, `decide` turns it into a plan, `status` turns both into what users read.
"""
