"""What a shell and a reader get of reports: the exit code they ask for, and the findings that were selected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyzers.findings import Finding, Outcome
from analyzers.report.exit_codes import ExitCode, exit_code, gravest
from analyzers.report.selection import parse_codes, with_selected_findings
from analyzers.rulebook.registry import RULES
from multifd_codec.errors import InputError
from tests.analyzers.report.test_report import PACKET_NUM, REPORT, SYNC_COUNT


@pytest.mark.parametrize(
    ("outcomes", "findings", "code"),
    [
        ((Outcome.COMPLETES,), (), ExitCode.CLEAN),
        ((Outcome.COMPLETES,), (PACKET_NUM,), ExitCode.CLEAN),
        ((Outcome.HANGS,), (PACKET_NUM, SYNC_COUNT), ExitCode.FINDINGS),
        ((Outcome.COMPLETES, Outcome.UNDECIDED), (PACKET_NUM,), ExitCode.INCOMPLETE),
        ((Outcome.UNDECIDED,), (SYNC_COUNT,), ExitCode.FINDINGS),
    ],
)
def test_exit_code(outcomes: tuple[Outcome, ...], findings: tuple[Finding, ...], code: ExitCode) -> None:
    report = replace(REPORT, possible_outcomes=outcomes, findings=findings)
    assert exit_code([report]) == code
    clean = replace(REPORT, possible_outcomes=(Outcome.COMPLETES,), findings=())
    assert exit_code([clean, report, clean]) == code


def test_the_gravest_exit_code_counts() -> None:
    assert exit_code([]) == ExitCode.FAILED
    order = [ExitCode.FAILED, ExitCode.FINDINGS, ExitCode.INCOMPLETE, ExitCode.CLEAN]
    assert [gravest(order[index:]) for index in range(4)] == order


def test_selection_takes_prefixes_and_leaves_the_outcome() -> None:
    def rules(*, select: str = "", ignore: str = "") -> list[str]:
        chosen = with_selected_findings(
            REPORT, select=parse_codes([select], RULES), ignore=parse_codes([ignore], RULES)
        )
        assert chosen.possible_outcomes == REPORT.possible_outcomes and chosen.reasons == REPORT.reasons
        return [finding.rule for finding in chosen.findings]

    assert rules() == ["MFD228", "MFD301"]
    assert rules(select="mfd3, MFD501") == ["MFD301"]
    assert rules(ignore="MFD301") == ["MFD228"]
    assert rules(select="MFD", ignore="MFD2,MFD3") == []
    with pytest.raises(InputError, match="MFD8"):
        parse_codes(["MFD3,MFD8"], RULES)
