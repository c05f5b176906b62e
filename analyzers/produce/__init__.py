"""Streams on demand: plans, drafts and mutations of outlines and recordings."""
