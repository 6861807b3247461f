"""Generator of files: the CRD, docs/reference and the chart's schema of values."""
