"""RAM records of the main channel."""
