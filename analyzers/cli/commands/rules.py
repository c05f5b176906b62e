"""``multifd rules``: the catalogue in one table."""

from __future__ import annotations

import click

from analyzers.cli.output import show_blocks, write_text


@click.command("rules", short_help="List all rules.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(form: str) -> int:
    """List all rules: code, severity, what a legal stream does.

    Codes: MFD1xx framing, MFD2xx packet fields, MFD3xx synchronisation, MFD4xx device state, MFD5xx main channel,
    MFD6xx channel set, MFD7xx what was seen to happen, MFD9xx capture quality. `multifd explain CODE` tells more.
    """
    from analyzers.report.rule_texts import catalogue_blocks, render_rules_json  # noqa: PLC0415
    from analyzers.rulebook.registry import RULES  # noqa: PLC0415

    if form == "json":
        write_text(render_rules_json(RULES.values()))
    else:
        show_blocks(catalogue_blocks())
    return 0
