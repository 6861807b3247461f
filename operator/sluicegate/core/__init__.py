"""Pure decisions over a snapshot.

The modules here do no IO and use no kopf, no asyncio and no clock of their own. `snapshot` holds the facts, `decide`
turns them into a plan, and `status` turns both into what users read.
"""
