"""Analysis of a candidate: from counters of both revisions to Passed, Failed or Inconclusive."""
