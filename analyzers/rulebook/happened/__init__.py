"""What was seen to happen."""
