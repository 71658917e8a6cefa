"""Training as one compiled program, and what it is made of."""
