"""Models in a registry.

The modules cover model URIs, what they resolve to, following a registered model, and signatures.
"""
