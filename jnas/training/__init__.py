"""Training as one compiled program: the program, optimisers, devices and timing."""
