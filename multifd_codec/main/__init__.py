"""The main channel: bytes to events, what can be wrong with them, and back to bytes."""
