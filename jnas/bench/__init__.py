"""Benchmarks of steps, controllers and populations; not part of the wheel."""
