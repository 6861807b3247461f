"""How a new version is judged: from counters of both revisions over one window to Passed, Failed or Inconclusive."""
