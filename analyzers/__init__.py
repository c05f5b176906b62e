"""What a migration means: the reference receiver, the rules, the reports and the command line.

``docs/library.md`` shows how to use it.
"""

from typing import TYPE_CHECKING

from multifd_codec.lazy import lazily

if TYPE_CHECKING:
    from analyzers.extraction.results import Rebuilt
    from analyzers.findings import Finding, Outcome, Reason, Report, Severity
    from analyzers.library import extract, generate, lint, mutate, plan_of
    from analyzers.rulebook.registry import RULES
    from analyzers.rulebook.rule import Rule

    rules = RULES

__all__ = [
    "Finding",
    "Outcome",
    "Reason",
    "Rebuilt",
    "Report",
    "Rule",
    "Severity",
    "extract",
    "generate",
    "lint",
    "mutate",
    "plan_of",
    "rules",
]

_HOMES = {
    "Finding": "analyzers.findings",
    "Outcome": "analyzers.findings",
    "Reason": "analyzers.findings",
    "Rebuilt": "analyzers.extraction.results",
    "Report": "analyzers.findings",
    "Rule": "analyzers.rulebook.rule",
    "Severity": "analyzers.findings",
    "extract": "analyzers.library",
    "generate": "analyzers.library",
    "lint": "analyzers.library",
    "mutate": "analyzers.library",
    "plan_of": "analyzers.library",
    "rules": "analyzers.rulebook.registry:RULES",
}

__getattr__ = lazily(globals(), _HOMES)
