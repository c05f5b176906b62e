"""Races `multifd lint` against what people use today: `make bench`."""
