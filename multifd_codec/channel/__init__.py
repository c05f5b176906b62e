"""The multifd channel: bytes to events, and back."""
