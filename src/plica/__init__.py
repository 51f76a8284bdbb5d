"""plica: exact answers about piecewise-linear neural networks."""

__version__ = "0.1.0"
