"""The composition root, and the only package that imports kopf."""
