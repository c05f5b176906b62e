"""What was seen to happen: the destination's half of a recording, and time."""
