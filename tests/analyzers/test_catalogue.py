"""The rule catalogue: complete, each rule under one name, and every text fit to be printed alone."""

from __future__ import annotations

import ast
import re
import sys
from itertools import groupby
from pathlib import Path

import pytest

import analyzers
from analyzers.findings import Severity
from analyzers.linter import device_state, packets, recording, sync
from analyzers.rulebook.conditions import PacketCondition
from analyzers.rulebook.registry import FAMILIES, NOTES, PACKET_CONDITIONS, PROBLEMS, RULES
from analyzers.rulebook.rule import Rule
from captures.model import NoteKind
from multifd_codec.main.problems import ProblemKind

TEXTS = ("title", "why", "destination", "reference", "since", "example")


ROOT = Path(analyzers.__file__).parents[1]


def test_codes_are_the_rows_of_the_reference() -> None:
    """Each letter's rows are counted without a gap; what a row's severity is, its mutations show."""
    assert list(RULES) == sorted(RULES) == [rule.code for rule in RULES.values()]
    assert {code[:4] for code in RULES} == set(FAMILIES)
    rows = sorted(rule.row or f"{code[3]}-{code[4:]}" for code, rule in RULES.items())
    for letter, numbers in groupby(rows, key=lambda row: row[:2]):
        assert [int(row[2:]) for row in numbers] == list(range(1, len([r for r in rows if r[:2] == letter]) + 1)), (
            letter
        )
    assert all(rule.severity is not Severity.ERROR for code, rule in RULES.items() if code.startswith("MFD9"))
    with pytest.raises(ImportError):
        exec("from analyzers.rulebook.codes import MFD399")


def test_every_rule_is_checked_and_only_by_its_name() -> None:
    """By conditions in its row, by a check of the linter, or by a survey or judge that knows it by import."""
    by_rows = {rule.code for rule in RULES.values() if rule.conditions}
    by_checks = {rule.code for module in (packets, sync, device_state, recording) for rule, _ in module.CHECKS.rows}
    elsewhere = set()
    for folder in (
        "survey",
        "judge",
        "linter/connections.py",
        "linter/happened.py",
        "linter/outcome.py",
        "linter/elsewhere.py",
    ):
        path = ROOT / "analyzers" / folder
        for source in path.glob("*.py") if path.is_dir() else (path,):
            elsewhere |= set(re.findall(r"\bMFD\d{3}\b", _imports_of_codes(source.read_text())))
    assert by_rows | by_checks | elsewhere == RULES.keys()
    assert len(by_rows) > len(by_checks) > len(elsewhere)


def _imports_of_codes(source: str) -> str:
    return "".join(
        f"{alias.name} "
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "analyzers.rulebook.codes"
        for alias in node.names
    )


def test_every_condition_has_one_rule() -> None:
    assert PROBLEMS.keys() == set(ProblemKind)
    assert NOTES.keys() == set(NoteKind) - {NoteKind.NO_MIGRATION}
    modules = [module for name, module in sys.modules.items() if name.startswith("analyzers.rulebook.")]
    defined = {value for module in modules for value in vars(module).values() if isinstance(value, PacketCondition)}
    assert len(defined) > 10 and defined <= PACKET_CONDITIONS.keys()


def test_codec_and_captures_know_no_rules() -> None:
    sources = [path for package in ("multifd_codec", "captures") for path in (ROOT / package).rglob("*.py")]
    named = re.compile(r"\bMFD\d|\b[CMPSV]-[0-3]\d\b")
    assert len(sources) > 100
    assert [(path.name, found) for path in sources if (found := named.findall(path.read_text()))] == []


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
