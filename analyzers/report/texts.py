"""Small pieces of text that several report formats share."""

from __future__ import annotations

from itertools import groupby

from analyzers.findings import Finding, Outcome, ProfileChoice, Report, Severity
from analyzers.findings.reason import channel_text
from analyzers.findings.recorded import Ended
from analyzers.findings.report import Elsewhere
from multifd_codec.dialect.releases import Mode

SEVERITY_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)


PRINTABLE = bytes(range(0x20, 0x7F)) + b"\n"
"""ASCII characters that move no cursor, and the line end."""


def printable(text: str) -> str:
    """Text from the wire or a file name made safe for a terminal: whatever is not printable becomes an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    """As Python has it, but for DEL: that is the only one that JSON leaves as it is, and knows no ``\\x7f`` for."""
    return "\\u007f" if char == "\x7f" else ascii(char)[1:-1]


def printable_lines(text: str) -> str:
    """The same of a whole output, whose line ends stay. All that is printed or written for people passes here last."""
    # Ten times as fast as str.isprintable, which looks each character up.
    if text.isascii() and not text.encode().translate(None, PRINTABLE):
        return text
    if text.replace("\n", "").isprintable():
        return text
    return "\n".join(map(printable, text.split("\n")))


def grouped(number: int) -> str:
    """``4012`` as ``4,012``."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{grouped(number)} {noun}{'' if number == 1 else 's'}"


def place_text(finding: Finding) -> str:
    """``channel 0 @4096 (frame 17)``, as far as it is known; may be empty."""
    parts = []
    if finding.channel is not None:
        parts.append(channel_text(finding.channel))
    if finding.offset is not None:
        parts.append(f"@{finding.offset}")
    if finding.frame is not None:
        parts.append(f"(frame {finding.frame})")
    return " ".join(parts)


def message_text(finding: Finding) -> str:
    """The message, with the field in front and the number of folded repeats behind it."""
    field = f" field {finding.field}" if finding.field else ""
    more = f" (and {grouped(finding.repeats)} more)" if finding.repeats else ""
    return f"{field}: {printable(finding.message)}{more}"


def finding_text(finding: Finding) -> str:
    """``channel 0 @4096 (frame 17) MFD301 error field flags: message (and 4,012 more)``."""
    place = place_text(finding)
    return f"{place + ' ' if place else ''}{finding.rule} {finding.severity}{message_text(finding)}"


def outcome_text(report: Report) -> str:
    """``outcome: hangs (monitor dead); possible: fails, hangs``."""
    text = f"outcome: {report.outcome}"
    if report.outcome is Outcome.HANGS and report.monitor_alive is not None:
        text += " (monitor alive)" if report.monitor_alive else " (monitor dead)"
    if len(report.possible_outcomes) > 1:
        text += f"; possible: {', '.join(report.possible_outcomes)}"
    return text


def recorded_text(report: Report) -> str:
    """``seen: hung, given up first by the source; nothing new for 15.1 s of 18.0 s``; empty when nothing was seen."""
    seen = report.recorded
    if seen.ended is Ended.UNKNOWN:
        return ""
    text = f"seen: {seen.ended}"
    if seen.gave_up_first is not None:
        text += f", given up first by the {seen.gave_up_first}"
    if seen.ended is Ended.HUNG and seen.seconds and (seen.silence or 0) >= 1:
        text += f"; nothing new for {seen.silence:.1f} s of {seen.seconds:.1f} s"
    return text


def elsewhere_text(report: Report) -> str:
    """``elsewhere: hangs: qemu-4.0 to qemu-8.0; fails: ...``: releases by the worst they come to, the mode where it
    tells; empty when it is the same everywhere."""
    by_outcome: dict[Outcome, list[Elsewhere]] = {}
    for one in report.elsewhere:
        by_outcome.setdefault(one.possible_outcomes[-1], []).append(one)
    if len(by_outcome) < 2:
        return ""
    modes = {mode for mode, _ in groupby(sorted(one.mode for one in report.elsewhere))}
    parts = [f"{outcome} {_folded(many, report, modes)}" for outcome, many in by_outcome.items()]
    return f"elsewhere: {'; '.join(parts)}"


def _folded(many: list[Elsewhere], report: Report, modes: set[Mode]) -> str:
    """Runs of releases, a mode each: ``4.0 to 8.0 per-section, 10.0 and later per-round``."""
    texts = []
    for mode in sorted(modes):
        every = [one.profile for one in report.elsewhere if one.mode == mode]
        mine = {one.profile for one in many if one.mode == mode}
        for inside, run in groupby(every, key=mine.__contains__):
            if inside:
                names = [name.removeprefix("qemu-") for name in run]
                span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
                texts.append(f"{span} {mode}")
    return ", ".join(texts)


def profile_text(profile: ProfileChoice | None) -> str:
    """``judged as qemu-10.0 per-round, 2 channels, page size 4096``."""
    if profile is None:
        return "not judged"
    one = profile.destination
    return f"judged as {one.name} {one.mode}, {counted(one.channels, 'channel')}, page size {one.page_size}"


def evidence_text(profile: ProfileChoice | None) -> str:
    """``inferred from ...`` or ``as given``; empty when nothing was judged."""
    if profile is None:
        return ""
    clues = "; ".join(printable(clue) for clue in profile.evidence)
    basis = "inferred" if profile.inferred else "as given"
    return f"{basis} from {clues}" if profile.inferred and clues else f"{basis}; {clues}" if clues else basis


def verdict_text(report: Report) -> str:
    """Outcome, profile and evidence in one line."""
    return "; ".join(filter(None, (outcome_text(report), profile_text(report.profile), evidence_text(report.profile))))


def ordered_findings(report: Report) -> list[Finding]:
    """Findings, errors first; the order of the report inside one severity."""
    return sorted(report.findings, key=lambda finding: SEVERITY_ORDER.index(finding.severity))


def tally_text(report: Report) -> str:
    """``2 errors, 1 warning``, folded repeats counted."""
    counts = dict.fromkeys(SEVERITY_ORDER, 0)
    for finding in report.findings:
        counts[finding.severity] += 1 + finding.repeats
    texts = [counted(count, severity.value) for severity, count in counts.items() if count]
    return ", ".join(texts) if texts else "no findings"
