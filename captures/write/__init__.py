"""Byte streams to files."""
