"""The command line: a module for each group of commands."""

import time

STARTED = time.monotonic()
"""When the command started, before its heavy parts are loaded: a wall-time budget counts from here."""
