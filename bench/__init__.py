"""Benchmarks: seeded workloads, one file per question."""
