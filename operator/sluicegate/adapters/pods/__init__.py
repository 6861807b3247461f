"""Scoring pods, read over HTTP at their own addresses."""
