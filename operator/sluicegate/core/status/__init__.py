"""What users read: conditions, phases, Events and notifications, composed from the snapshot and the plan."""
