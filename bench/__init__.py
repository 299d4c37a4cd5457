"""Throughput harness: what Penstock does per second, beside what the machine could do."""
