"""What was rebuilt, as one JSON document and as text for people."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from analyzers.extraction.page_table import PageKind
from analyzers.extraction.results import Rebuilt, RebuiltBlock
from captures.model import Recording

SCHEMA = "multifd-extract/1"
MAX_RANGES = 1000
"""Ranges that are listed of one kind and block."""
MAX_ALL_RANGES = 20_000
"""Ranges that are listed of all blocks; what is behind them is left out, too."""
SHOWN = 10
"""Problems, ranges and devices of one kind that the text lists."""


def manifest(rebuilt: Rebuilt, recording: Recording, number: int) -> dict[str, Any]:
    """The manifest of migration ``number`` (from 1) of a recording; sizes and offsets in bytes."""
    return {
        "schema": SCHEMA,
        "input": {"path": str(recording.path), "kind": recording.kind, "bytes": recording.bytes},
        "migration": number,
        "mode": rebuilt.mode,
        "page_size": rebuilt.page_size,
        "rounds": rebuilt.rounds,
        "complete": rebuilt.complete,
        "incomplete": rebuilt.incomplete,
        "blocks": list(_blocks(rebuilt)),
        "devices": [asdict(device) for device in rebuilt.devices],
        "not_loaded": [{"channel": channel, "bytes": left} for channel, left in rebuilt.not_loaded.items()],
        "order_not_defined": [conflict._asdict() for conflict in rebuilt.conflicts],
        "problems": [problem._asdict() for problem in rebuilt.problems],
    }


def _blocks(rebuilt: Rebuilt) -> Iterator[dict[str, Any]]:
    left = MAX_ALL_RANGES
    for block in rebuilt.blocks:
        document = _block(block, rebuilt.page_size, left)
        left -= len(document["unknown_ranges"]) + len(document["never_sent_ranges"])
        yield document


def _block(block: RebuiltBlock, page_size: int, left: int) -> dict[str, Any]:
    pages: dict[str, int] = {
        "total": block.pages,
        "known": block.known,
        "unknown": block.unknown,
        "never_sent": block.never_sent,
        "offsets_not_recorded": block.unnamed,
    }
    kinds = {kind.label: count for kind, count in block.counts.items() if count}
    return {
        "name": block.name,
        "file": block.file,
        "provenance": block.provenance,
        "size": block.size,
        "sha256": block.sha256,
        "pages": pages,
        "kinds": kinds,
        "unknown_ranges": _ranges(block, PageKind.UNKNOWN, page_size, left // 2),
        "never_sent_ranges": _ranges(block, PageKind.NEVER_SENT, page_size, left // 2),
    }


def _ranges(block: RebuiltBlock, kind: PageKind, page_size: int, limit: int) -> list[dict[str, int]]:
    found = itertools.islice(block.table.stretches(kind, block.pages), min(MAX_RANGES, limit))
    return [{"offset": first * page_size, "pages": behind - first} for first, behind in found]


def text_lines(rebuilt: Rebuilt, recording: Recording, number: int, place: str) -> Iterator[str]:
    """The same in short."""
    yield f"{recording.path}, migration {number}: {rebuilt.mode} mode, {rebuilt.rounds} rendezvous, in {place}"
    for block in rebuilt.blocks:
        kinds = ", ".join(f"{count} {kind.label}" for kind, count in block.counts.items() if count)
        yield f"  RAM block {block.name}: {block.size} bytes, {block.pages} pages ({kinds}) -> {block.file}"
        if block.sha256 is not None:
            yield f"    sha256 {block.sha256}"
        for kind in (PageKind.UNKNOWN, PageKind.NEVER_SENT):
            ranges = list(itertools.islice(block.table.stretches(kind, block.pages), SHOWN + 1))
            for first, behind in ranges[:SHOWN]:
                yield f"    {kind.label}: {behind - first} pages from {first * rebuilt.page_size:#x}"
            if len(ranges) > SHOWN:
                yield f"    {kind.label}: and more, see the manifest"
    sections = 0
    for device in rebuilt.devices:
        if device.kind == "section":
            sections += 1
            continue
        config = "" if device.config_file is None else f", config {device.config_bytes} bytes -> {device.config_file}"
        yield f"  device {device.idstr} instance {device.instance_id}: {device.bytes} bytes -> {device.file}{config}"
        if not device.complete:
            lost = f"buffers {device.missing[:SHOWN]} never came" if device.missing else "not all of it is there"
            rest = f", {device.not_loaded} bytes that came are never loaded" if device.not_loaded else ""
            yield f"    incomplete: {lost}{rest}"
    if sections:
        yield f"  {sections} device sections of main"
    yield from (f"  incomplete: {reason}" for reason in rebuilt.incomplete)
    for channel, left in rebuilt.not_loaded.items():
        yield f"  not loaded: {left} bytes of channel {channel} that a destination never reads (--all loads them)"
    yield from _listed(
        [
            f"order not defined: {c.pages} pages of {c.block} from {c.offset:#x} stand on two channels in round"
            f" {c.round} with other content; that of channel {c.channel} was taken"
            for c in rebuilt.conflicts
        ]
    )
    yield from _listed(
        [
            f"channel {p.channel}{'' if p.offset is None else f', offset {p.offset}'}: {p.message}"
            for p in rebuilt.problems
        ]
    )


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"  and {len(lines) - SHOWN} more, see the manifest"
