"""The rule catalogue: every code with what it means, and the checks that find violations."""
