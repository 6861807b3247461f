"""Formatting of numbers for users."""

from __future__ import annotations


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}"


def share(value: float) -> str:
    """Format a share, from 0 to 1, as a percentage."""
    return f"{100 * value:.3g}%"


def seconds(value: float) -> str:
    """Format a latency, given in seconds."""
    return f"{1000 * value:.3g}ms" if value < 1.0 else f"{value:.3g}s"
