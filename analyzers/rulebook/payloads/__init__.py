"""What follows packet headers."""
