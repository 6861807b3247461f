"""An in-memory cluster that simulates the operator's decisions."""
