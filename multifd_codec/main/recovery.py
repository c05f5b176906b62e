"""Going on behind holes of the recording and behind bytes that make no sense, and giving up.

A hole in payload or in a device body is never noticed: it is in the way only where a record starts.
"""

from __future__ import annotations

from collections.abc import Iterator

from multifd_codec.channel.framing import Fit
from multifd_codec.main.events import MainEvent, Skipped, StreamStopped
from multifd_codec.main.ram import find_ram_record
from multifd_codec.main.search import PART, find_resumption, section_fit
from multifd_codec.main.state import Damage, MainState, Phase
from multifd_codec.source import Hole
from multifd_codec.wire.qemufile import SectionType


def hit_hole(state: MainState, hole: Hole) -> None:
    """Note that what stands at the position was not recorded."""
    search_from, behind = hole.end, state.position + PART.size
    if state.phase is Phase.FOOTER and hole.end <= behind and section_fit(state, behind) is Fit.YES:
        search_from = behind  # only the footer is missing: the framing is not in doubt
    state.lost = True
    reason = f"bytes {hole.start} to {hole.end} are missing ({hole.reason})"
    state.damaged(Damage(search_from, reason, hole=True, in_ram=state.phase in (Phase.RAM, Phase.FOOTER)))


def resumption(state: MainState) -> Iterator[MainEvent]:
    """Go on where RAM records, a footer or the vmdescription show the way; the end of a package always does."""
    damage, reader = state.damage, state.reader
    assert damage is not None
    begin, phase = damage.search_from, Phase.SECTION
    target = None
    if damage.hole and begin == state.position + PART.size and section_fit(state, begin) is Fit.YES:
        target = begin
    elif damage.in_ram:
        records = find_ram_record(state, begin)
        if records is not None:
            target = find_resumption(state, begin, records)
            if target is None:
                target, phase = records, Phase.RAM
    if target is None:
        target = find_resumption(state, begin)
    if target is None and reader.limit is not None and reader.limit <= reader.source.size:
        target = reader.limit
    state.damage, state.lost = None, True
    if target is None:
        state.phase = Phase.STOPPED
        rest = max(0, reader.end - state.position)
        yield StreamStopped(state.position, rest, damage.reason, damage.hole, damage.problems)
        return
    if phase is Phase.RAM:
        state.block, state.block_lost = None, True
    elif bytes(reader.peek(target, 1)) == bytes([SectionType.FOOTER]):
        phase = Phase.FOOTER
    if damage.hole or phase is not Phase.RAM:
        state.current = None  # it may be another section by now
    skipped = Skipped(state.position, target - state.position, damage.hole, damage.problems)
    state.position, state.phase = target, phase
    yield skipped
