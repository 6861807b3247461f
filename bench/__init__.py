"""Side-by-side benchmarks; README.md describes how to run and read them."""
