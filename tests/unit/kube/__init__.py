"""Unit tests of the Kubernetes client side."""
