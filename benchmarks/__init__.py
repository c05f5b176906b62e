"""Races `multifd lint` against what people use today, and `generate` against dd; times `fuzz`: `make bench`."""
