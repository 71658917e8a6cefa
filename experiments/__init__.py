"""Launchers; in an installed jnas they are the package ``jnas.experiments``."""
