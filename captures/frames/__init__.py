"""Frames to TCP segments; link layers are a table."""
