"""The Kubernetes API: an async client, list-and-watch caches, leader election and events."""
