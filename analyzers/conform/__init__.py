"""Whether a destination does what the rules say: every mutation and near miss, foreseen against seen."""
