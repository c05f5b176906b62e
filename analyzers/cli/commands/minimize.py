"""``multifd minimize``: a stream made small that still does what it did."""

from __future__ import annotations

from pathlib import Path

import click

from analyzers.cli.campaigns import interruptible
from analyzers.cli.drafts import draft_of
from analyzers.cli.inputs import file_path, open_input, reading_options
from analyzers.cli.output import write_lines
from analyzers.cli.progress import StatusLine
from analyzers.report.exit_codes import ExitCode
from captures.model import Reader
from multifd_codec.errors import InputError

EPILOG = """\b
Examples:
  multifd minimize crash.pcap --qemu qemu-system-x86_64 --until crashes -o small.pcap
  multifd minimize hang.pcap --until hangs -o small.pcap

Records are left out as long as the destination still does the same: a real one with --qemu, started as
`multifd send` starts it for the whole stream, twice each time; else the receiver model, as lint has it. The cause
must stay the same: the kinds of reasons that the model gives and, with --qemu, what QEMU says but for numbers in it
and whether its monitor answers. With --any-cause nothing but the outcome counts, and connections are left out, too.
OUT is a capture if it ends in .pcap, else a folder of channel files. Ctrl-C ends the search and writes the smallest.

\b
Exit codes:
  0  nothing more can be left out
  1  it was stopped: the smallest one so far is written
  2  could not run: unreadable input, or the stream does not do that
  3  bytes are missing in the input
"""


@click.command("minimize", epilog=EPILOG, short_help="Make a stream small that still hangs, crashes, fails.")
@click.argument("path", metavar="INPUT", type=file_path)
@click.option("--until", "outcome", type=click.Choice(("crashes", "hangs", "fails", "loses-data")), required=True,
              help="What it must still do.")  # fmt: skip
@click.option("--qemu", "text", metavar="CMD", help="Command line of a real destination. [the receiver model]")
@click.option("--any-cause", is_flag=True, help="Nothing but the outcome must stay.")
@click.option("--migration", type=click.IntRange(1), metavar="N", help="Which migration, if INPUT holds several.")
@click.option("-o", "output", type=file_path, metavar="OUT", required=True,
              help="The capture (*.pcap) or folder to write.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the channel files in a folder.")
@reading_options
def command(
    *,
    path: Path,
    outcome: str,
    text: str | None,
    any_cause: bool,
    migration: int | None,
    output: Path,
    force: bool,
    page_size: int | None,
    keylog: Path | None,
    reader: Reader,
) -> int:
    """Make a stream as small as it can be and still do what it does to a destination."""
    from analyzers.fuzz.minimize import ModelJudge, RealJudge, minimize  # noqa: PLC0415
    from analyzers.linter.judged import LintOptions  # noqa: PLC0415
    from analyzers.linter.linter import lint_recording  # noqa: PLC0415
    from analyzers.produce.draft_of_recording import tap_of  # noqa: PLC0415
    from captures.memory import recording_of  # noqa: PLC0415
    from captures.write.sent import write_draft  # noqa: PLC0415
    from captures.write.target import check_target  # noqa: PLC0415

    check_target(output, force=force, inputs=(path,) if keylog is None else (path, keylog))
    with StatusLine() as show, open_input(path, reader, keylog, None) as recording, interruptible() as stopped:
        chosen, draft = draft_of(path, recording, migration, page_size)
        before = sum(len(line) for _, line in draft.lines())

        def progress(records: int, tries: int) -> None:
            show(f"{records} of {before} records, {tries} tries")

        def stop() -> bool:
            return bool(stopped)

        (report,) = lint_recording(recording_of(draft), LintOptions())
        if report.profile is None:
            raise InputError("no destination can be inferred from the stream")
        like = report.profile.destination
        own = LintOptions(profile=like.profile, mode=like.mode, channels=like.channels)
        model = ModelJudge(outcome, own, any_cause=any_cause)
        words = ""
        if text is None:
            done = minimize(draft, model, stop, progress, any_cause)
        else:
            from analyzers.produce.destination_for import Wishes, destination_for  # noqa: PLC0415
            from captures.qemu import DestinationPool, parse_command  # noqa: PLC0415

            qemu = parse_command(text)
            asked = destination_for(chosen, qemu, Wishes())
            with DestinationPool(qemu, asked.options, size=1) as pool:
                judge = RealJudge(pool, asked.options, asked.expected, outcome, model, any_cause=any_cause)
                done = minimize(draft, judge, stop, progress, any_cause)
            words = "" if judge.last is None else f"; {judge.last.line()}"
        write_draft(output, done.draft, tap_of(chosen), chosen.return_path)
    after = sum(len(line) for _, line in done.draft.lines())
    write_lines([f"{output}: {after} of {before} records, {done.tries} tries{words}\n"])
    return ExitCode.CLEAN if done.complete else ExitCode.FINDINGS
