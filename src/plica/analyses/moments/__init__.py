"""What Gaussian noise at the input does to the output: moments (Bibi et al. 2018)."""
