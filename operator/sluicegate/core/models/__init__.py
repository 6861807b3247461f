"""Models in a registry: URIs, what they resolve to, following a registered model, and signatures."""
