"""Bodies of iterated devices whose own counts say where they end; the layout is that of a recorded pseries-2.1."""

from __future__ import annotations

import struct

import pytest

from multifd_codec.draft import main_records as make
from multifd_codec.draft.main_records import MainRecord
from multifd_codec.main import events as ev
from multifd_codec.source import StreamEnd
from tests.helpers.main_channels import decode

HTAB = 33
ENTRIES = bytes([1]) + bytes(7) + b"\x7e\0\0\0\x21\0\0\0"
"""One entry, in which the start of a section and a footer seem to stand."""
CHUNKS = struct.pack(">IIHH", 0, 7, 3, 1) + 3 * ENTRIES + struct.pack(">IHH", 90, 0, 4) + bytes(8)


def _stream(*, footers: bool) -> bytes:
    def section(header: MainRecord, section_id: int, body: bytes) -> list[MainRecord]:
        device = ev.DeviceBody(0, len(body), section_id, b"spapr/htab", 0, ev.BodyLength.STRUCTURE)
        content: MainRecord = make.Record(device, body)
        return [header, content, *([make.footer(section_id)] if footers else [])]

    records = [
        make.file_header(),
        *section(make.section_start(HTAB, "spapr/htab", version_id=1), HTAB, struct.pack(">I", 22)),
        *section(make.section_part(HTAB), HTAB, CHUNKS),
        *section(make.section_part(HTAB), HTAB, struct.pack(">I", 0xFFFF_FFFF)),
        *section(make.section_end(HTAB), HTAB, bytes(12)),
        make.end_of_stream(),
    ]
    return b"".join(bytes(piece) for record in records for piece in record.pieces())


@pytest.mark.parametrize("footers", [True, False])
def test_hash_page_table_of_pseries(footers: bool) -> None:
    events = decode(_stream(footers=footers))
    bodies = [event for event in events if isinstance(event, ev.DeviceBody)]
    assert [body.length for body in bodies] == [4, len(CHUNKS), 4, 12]
    assert {body.how for body in bodies} == {ev.BodyLength.STRUCTURE}
    assert not [problem for event in events for problem in event.problems]


def test_counts_that_reach_behind_the_end_do_not_count() -> None:
    data = _stream(footers=True).replace(struct.pack(">IHH", 7, 3, 1), struct.pack(">IHH", 7, 0xFFFF, 1))
    bodies = [event.how for event in decode(data, end=StreamEnd.CLOSED) if isinstance(event, ev.DeviceBody)]
    assert ev.BodyLength.FOOTER_SEARCH in bodies
