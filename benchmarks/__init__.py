"""Benchmarks: measured side by side, never timed tests."""
