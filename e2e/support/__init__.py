"""What the end-to-end tests share: an API client, a steady load, the registry and the operator as a process."""
