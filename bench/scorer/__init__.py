"""The modules of bench_scorer.py and bench_soak.py."""
