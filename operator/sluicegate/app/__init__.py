"""kopf at the edge, and the composition root: the only place that knows every part."""
