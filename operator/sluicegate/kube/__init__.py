"""Async client, list-and-watch caches, leader election and Events."""
