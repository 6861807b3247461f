"""Progressive delivery: the state machine of a rollout, the candidate, and what keeps a revision from taking over."""
