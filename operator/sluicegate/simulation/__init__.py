"""An in-memory cluster: the operator's decisions, played until nothing changes."""
