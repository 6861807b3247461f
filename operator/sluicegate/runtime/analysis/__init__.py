"""Analysis at run time: when an analysis runs, and what its metrics sources are."""
