"""SYNC packets against what releases them."""
