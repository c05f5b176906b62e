"""``multifd explain``: what a rule code means."""

from __future__ import annotations

import click

from analyzers.cli.output import show_blocks, write_text

EPILOG = """\b
Examples:
  multifd explain MFD301
  multifd explain mfd408 --format json
"""


@click.command("explain", epilog=EPILOG, short_help="Explain rules: why, what a destination does, since when.")
@click.argument("codes", metavar="CODE...", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(codes: tuple[str, ...], form: str) -> int:
    """Explain a rule: why it exists, what a destination does, since when, and a minimal violation.

    `multifd rules` lists the codes.
    """
    from analyzers.report.rule_texts import find_rules, render_rules_json, rule_blocks  # noqa: PLC0415

    rules = find_rules(codes)
    if form == "json":
        write_text(render_rules_json(rules))
    else:
        show_blocks(block for rule in rules for block in rule_blocks(rule))
    return 0
