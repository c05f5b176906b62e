"""Frames to TCP segments."""
