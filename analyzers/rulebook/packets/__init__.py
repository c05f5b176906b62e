"""Header fields of RAM packets."""
