"""What users read: conditions, phases, Events and notifications.

All of them are composed from the snapshot and the plan.
"""
