"""Construct declarations of everything on the wire: the only place where offsets and sizes are stated."""
