"""The modules of bench_controlplane.py and bench_rollouts.py."""
