"""The command-line interface: `sluicegate`, or `kubectl sluicegate` as a plugin."""
