"""Helpers of the end-to-end tests.

They include an API client, a steady load, the registry, and the operator as a process.
"""
