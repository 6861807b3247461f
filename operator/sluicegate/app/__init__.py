"""The operator's process and its wiring, and the only package that imports kopf."""
