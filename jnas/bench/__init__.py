"""Timed steps, controllers and populations; not in the wheel."""
