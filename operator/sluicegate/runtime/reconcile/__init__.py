"""The reconcile loop: work queue, caches, gathering, applying and status."""
