"""Where every page came from, as lines of JSON: one line for consecutive pages that came together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from analyzers.extraction.output import Place
from analyzers.extraction.page_table import PageKind, Run
from analyzers.extraction.reading import Reading
from analyzers.extraction.results import RebuiltBlock
from captures.model import StreamSource
from multifd_codec.errors import ChannelName

SUFFIX = ".provenance.jsonl"
LEAST_LINES = 100_000
"""Lines that may be written, however small the recording is."""
BYTES_PER_LINE = 16
"""So many recorded bytes make for one line more."""


def write_provenance(blocks: Sequence[RebuiltBlock], reading: Reading, place: Place) -> str | None:
    """One file for each block, named in its ``provenance``; what had to be left out of them."""
    left = LEAST_LINES + reading.recorded // BYTES_PER_LINE
    short: str | None = None
    for block in blocks:
        block.provenance = place.name(block.name, SUFFIX)
        with place.naming(block.provenance), os.fdopen(place.create(block.provenance), "w", encoding="utf-8") as file:
            for line in provenance(block, reading):
                if not left:
                    short = short or f"{block.provenance} ends at {line['offset']:#x}: too many runs of pages"
                    break
                left -= 1
                file.write(json.dumps(line) + "\n")
    return short


def provenance(block: RebuiltBlock, reading: Reading) -> Iterator[dict[str, Any]]:
    """Runs of pages in rising order. ``offset`` is in the RAM block, ``packet_offset`` in the channel's stream, both in
    bytes; for ZERO records it is that of the first page's."""
    for run in block.table.runs(block.pages):
        channel, source = _channel(run, reading)
        sent = run.round >= 0
        yield {
            "offset": run.first * reading.page_size,
            "pages": run.behind - run.first,
            "kind": run.kind.label,
            "channel": channel,
            "packet_offset": run.offset if sent and run.offset >= 0 else None,
            "frame": source.frame_at(run.offset) if sent and source is not None and run.offset >= 0 else None,
            "packet_num": run.number if run.number >= 0 else None,
            "round": run.round if sent else None,
        }


def _channel(run: Run, reading: Reading) -> tuple[ChannelName | None, StreamSource | None]:
    if run.kind in (PageKind.NEVER_SENT, PageKind.CLEAR):
        return None, None
    if run.position < 0:
        return "main", None if reading.main is None else reading.main.source
    channel = reading.channels[run.position]
    return channel.name, channel.captured.source
