"""Convolutions and pooling as JAX primitives, with every derivative."""
