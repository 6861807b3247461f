"""What drives reconciles: the work queue, the workers, health and metrics."""
