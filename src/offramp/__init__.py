"""offramp: search, train and deploy early-exit neural networks for edge accelerators."""

__version__ = "0.1.0"
