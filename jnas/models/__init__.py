"""A trained network as a thing: its description, weights and preprocessing."""
