"""Offline validation of manifests.

It applies the schema and the CEL rules of the CRD, and the operator's own rules.
"""
