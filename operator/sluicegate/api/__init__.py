"""The resource `ModelDeployment` as typed, frozen, documented values.

Nothing here decides anything: `spec` and `status` say what can be written and read, `names` how things are called. The CRD
(`crds/`) and the API reference (`docs/reference/api.md`) are generated from these types, so a field is described once.
"""
