"""How much of the streams the linter understood."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.linter.context import Context
from analyzers.linter.found import Checks, Found
from analyzers.rulebook.capture.rules import PAYLOAD_NOT_CHECKED
from analyzers.rulebook.codes import MFD908, MFD909, MFD910, MFD911
from analyzers.survey.channel import ItemKind

CHECKS = Checks()


@CHECKS.of(MFD908)
def unreadable(context: Context) -> Iterator[Found]:
    for number, survey in context.channels:
        for item in survey.items:
            if item.kind is ItemKind.UNREADABLE:
                what = "are missing in the recording" if item.hole else "are no packet"
                message = f"{item.end - item.offset} bytes {what}; decoding goes on behind them with less confidence"
                yield Found(message, number, item.offset, item.end - item.offset)


@CHECKS.of(MFD909)
def main_not_understood(context: Context) -> Iterator[Found]:
    main = context.main
    if main is not None and main.stopped is not None and main.failure is None:
        yield Found(f"not understood from here on: {main.stopped}", "main", main.understood)


@CHECKS.of(MFD910)
def payload_not_checked(context: Context) -> Iterator[Found]:
    """Once a channel, whatever the number of packets."""
    for number, survey in context.channels:
        if PAYLOAD_NOT_CHECKED in survey.hits:
            yield Found(survey.hits[PAYLOAD_NOT_CHECKED].first.message, number)


@CHECKS.of(MFD911)
def experimental(context: Context) -> Iterator[Found]:
    for number, survey in context.channels:
        if survey.experimental:
            yield Found("the packets have the layout of QEMU 3.0/3.1, which is not supported", number)
