"""Registries at run time: which one a resource names, following its models, webhooks and tags."""
