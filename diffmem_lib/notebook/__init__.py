"""What only chapters use: claims, symbolic steps, plotting, settings."""
