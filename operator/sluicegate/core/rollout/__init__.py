"""Progressive delivery: the rollout's state machine, the candidate, and what keeps a revision from taking over."""
