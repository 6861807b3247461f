"""The running operator: reconciles, registries, analysis, servers, metrics."""
