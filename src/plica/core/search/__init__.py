"""Search over patterns: affine blocks, proven bounds, a warm relaxation, exact decisions about single patterns."""
