"""A test stream for every rule."""
