"""Side-by-side measurements; README.md says how to run and read them."""
