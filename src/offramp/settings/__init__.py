"""Every setting of a search: a module for each section, the whole, its file, and settings by name."""
