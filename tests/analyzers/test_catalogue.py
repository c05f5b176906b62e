"""The rule catalogue: complete, and every text fit to be printed alone."""

from __future__ import annotations

import re

import pytest

from analyzers.findings import Severity
from analyzers.rulebook.registry import FAMILIES, RULES
from analyzers.rulebook.rule import Rule

# The families of protocol rows: letter, the codes its rows 1..n map to.
ROWS = {
    "P": {n: f"MFD1{n:02}" if n in (1, 2, 29, 30) else f"MFD2{n:02}" for n in range(1, 31)},
    "S": {n: f"MFD3{n:02}" for n in range(1, 16)},
    "V": {n: f"MFD4{n:02}" for n in range(1, 18)},
    "M": {n: f"MFD5{n:02}" for n in range(1, 26)},
    "C": {n: f"MFD6{n:02}" for n in range(1, 11)},
}
WARNINGS = "P-03 P-06 P-08 P-11 P-15 P-17 P-23 P-26 P-28 S-11 S-15 V-05 V-06 V-16 V-17 M-05 M-06 M-16 M-18 M-19 M-21"
INFOS = "C-07 P-24 P-25 P-27 S-10 V-15 M-20"
TEXTS = ("title", "why", "destination", "reference", "since", "example")


def test_every_row_has_its_rule_and_severity() -> None:
    expected = {code: f"{letter}-{row:02}" for letter, rows in ROWS.items() for row, code in rows.items()}
    capture = {f"MFD9{n:02}": "" for n in range(1, 12)}
    assert {code: rule.row for code, rule in RULES.items()} == expected | capture
    assert list(RULES) == sorted(RULES) == [rule.code for rule in RULES.values()]
    assert {code[:4] for code in RULES} == set(FAMILIES)
    by_severity = {
        severity: {r.row for r in RULES.values() if r.severity is severity and r.row} for severity in Severity
    }
    assert by_severity[Severity.WARNING] == set(WARNINGS.split())
    assert by_severity[Severity.INFO] == set(INFOS.split())
    assert all(rule.severity is not Severity.ERROR for code, rule in RULES.items() if code in capture)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_texts_are_fit_to_print(rule: Rule) -> None:
    for name in TEXTS:
        text = getattr(rule, name)
        assert text == text.strip() and "\n" not in text and "  " not in text.replace("   ", ""), name
        assert text.isascii(), name
        assert not re.search(r"[a-z.]\.[A-Z]|\.\.\.\.|,,|;;| ,| ;|\( | \)", text.replace("I.", "").replace("V.", "")), (
            name
        )
    assert 20 <= len(rule.title) <= 120 and not rule.title.endswith(".")
    for name in ("why", "destination"):
        sentences = re.split(r"(?<=[.:;]) ", getattr(rule, name))
        assert getattr(rule, name).endswith("."), name
        assert all(len(sentence) < 240 for sentence in sentences), (name, max(sentences, key=len))
    assert len(rule.why) >= 80
    assert re.search(r"\.c\b|\.h\b|not QEMU", rule.reference)
    if rule.row:
        assert re.search(r"[Oo]utcome: ", rule.destination) or "decided by" in rule.destination
