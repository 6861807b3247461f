"""Annotations that steer a rollout, and the revisions that a user can name."""
