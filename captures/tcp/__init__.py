"""TCP segments to the byte streams of connections."""
