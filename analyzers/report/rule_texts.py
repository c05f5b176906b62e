"""Rules of the catalogue as text and JSON: ``multifd explain`` and ``multifd rules``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from analyzers.report.content import SEVERITY_STYLE, Block, Line, Span, Style, Table, line
from analyzers.rulebook.registry import FAMILIES, RULES
from analyzers.rulebook.rule import Rule
from multifd_codec.errors import InputError

RULES_SCHEMA = "multifd-rules/1"
WIDTH = 78
TEXTS = ("code", "row", "title", "severity", "why", "destination", "reference", "since", "example")


def find_rules(codes: Iterable[str]) -> list[Rule]:
    """Rules by code, upper or lower case. Raises InputError for a code that does not exist."""
    found = []
    for code in codes:
        rule = RULES.get(code.strip().upper())
        if rule is None:
            raise InputError(f"there is no rule {code!r}{_nearby(code)}; `multifd rules` lists all")
        found.append(rule)
    return found


def render_rules_json(rules: Iterable[Rule]) -> str:
    """``{"schema": "multifd-rules/1", "rules": [...]}``, TEXTS of each rule and ``family``."""
    documents = [{name: getattr(rule, name) for name in TEXTS} | {"family": FAMILIES[rule.code[:4]]} for rule in rules]
    return json.dumps({"schema": RULES_SCHEMA, "rules": documents}, indent=1) + "\n"


def rule_blocks(rule: Rule) -> Iterator[Block]:
    """One rule, wrapped to WIDTH: it is prose."""
    head = (Span(f"{rule.code} {rule.severity}", SEVERITY_STYLE[rule.severity]), Span(f": {rule.title}", Style.HEADING))
    row = f", row {rule.row} of the protocol reference" if rule.row else ""
    yield (Line(head), line(f"{FAMILIES[rule.code[:4]]}{row}", Style.QUIET))
    yield from (
        tuple(_paragraph(name, text))
        for name, text in (
            ("Why", rule.why),
            ("Destination", rule.destination),
            ("In QEMU", rule.reference),
            ("Releases", rule.since),
        )
    )
    steps = rule.example.split("   ")
    yield (line("Example", Style.HEADING), *(line(f"  {step}") for step in steps))
    if rule.mutations:
        command = f"multifd mutate INPUT --rule {rule.code} --way WAY -o OUT"
        yield tuple(_paragraph("Make one", f"{command}   with WAY one of {', '.join(m.way for m in rule.mutations)}"))


def catalogue_blocks() -> Iterator[Block]:
    """One table a family."""
    for prefix, family in FAMILIES.items():
        rows = tuple((r.code, r.severity.value, r.title) for code, r in RULES.items() if code.startswith(prefix))
        yield Table((f"{prefix}xx", "severity", family), 3, rows)


def _paragraph(name: str, text: str) -> Iterator[Line]:
    import textwrap  # noqa: PLC0415

    yield line(name, Style.HEADING)
    for part in textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield line(f"  {part}")


def _nearby(code: str) -> str:
    family = code.strip().upper()[:4]
    codes = [known for known in RULES if known.startswith(family)] if family in FAMILIES else []
    return f" (MFD{family[3]}xx has {codes[0]} to {codes[-1]})" if codes else ""
