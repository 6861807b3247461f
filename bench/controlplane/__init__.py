"""The parts of bench_controlplane.py."""
