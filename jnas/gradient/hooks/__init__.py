"""What a search does between epochs: watches, decides by perturbation."""
