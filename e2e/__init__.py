"""End-to-end tests and the local cluster they run on."""
