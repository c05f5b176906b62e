"""What a recording misses."""
