"""The main channel: bytes to events, and back."""
