"""Convolutions and pooling as primitives of our own, with every derivative."""
