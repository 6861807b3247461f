"""The decision: revision roles, traffic, and the plan as a whole."""
