"""The command `sluicegate` (and `kubectl sluicegate`)."""
