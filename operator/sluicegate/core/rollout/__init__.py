"""Progressive delivery: the state machine of a rollout, and its candidate.

It also has the checks that keep a revision from taking over.
"""
