"""Figures as people read them."""

from __future__ import annotations


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def share(value: float) -> str:
    """A share as percent."""
    return f"{100 * value:.3g} %"


def seconds(value: float) -> str:
    """A latency."""
    return f"{1000 * value:.3g} ms" if value < 1.0 else f"{value:.3g} s"
