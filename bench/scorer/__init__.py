"""Parts of bench_scorer.py."""
