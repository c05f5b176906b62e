"""Commands and sections of the main channel."""
