"""The analysis of a candidate, from counters of both revisions to an outcome.

The outcome is Passed, Failed or Inconclusive.
"""
