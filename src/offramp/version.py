"""The version of offramp."""

__version__ = "0.1.0"
