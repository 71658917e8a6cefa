"""jnas: neural architecture search as compiled JAX programs."""
