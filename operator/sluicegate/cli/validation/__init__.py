"""Checking manifests offline: the CRD's schema and CEL rules, and the operator's own rules."""
