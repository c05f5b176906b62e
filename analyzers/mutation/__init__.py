"""Streams that are wrong on purpose: for every rule the mutations that violate it, for any healthy draft."""
