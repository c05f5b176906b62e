"""The rule catalogue: complete, and every text fit to be printed alone."""

from __future__ import annotations

import re
from itertools import groupby

import pytest

from analyzers.findings import Severity
from analyzers.rulebook.registry import FAMILIES, RULES
from analyzers.rulebook.rule import Rule

TEXTS = ("title", "why", "destination", "reference", "since", "example")


def test_codes_are_the_rows_of_the_reference() -> None:
    """Each letter's rows are counted without a gap; what a row's severity is, its mutations show."""
    assert list(RULES) == sorted(RULES) == [rule.code for rule in RULES.values()]
    assert {code[:4] for code in RULES} == set(FAMILIES)
    rows = sorted(rule.row or f"9-{code[4:]}" for code, rule in RULES.items())
    for letter, numbers in groupby(rows, key=lambda row: row[:2]):
        assert [int(row[2:]) for row in numbers] == list(range(1, len([r for r in rows if r[:2] == letter]) + 1)), (
            letter
        )
    assert all(rule.severity is not Severity.ERROR for code, rule in RULES.items() if code.startswith("MFD9"))


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
