"""``python -m analyzers.cli``."""

from analyzers.cli import run

run()
