"""Registries at run time: resolution, following, webhooks and tags."""
