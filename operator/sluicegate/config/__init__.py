"""The operator's settings."""
