"""Helpers that tests in several folders share: clusters, clocks and cases.

There are two simulated clusters: one of API objects, and one of facts alone.
"""
