"""The resource `ModelDeployment` as typed, frozen, documented values.

This package makes no decisions. `spec` and `status` define what can be written and read, and `names` defines names. The
CRD (`crds/`) and the API reference (`docs/reference/api.md`) are generated from these types, so each field is described
once.
"""
