"""Analysis at run time: when an analysis runs, and where its measurements come from."""
