"""Synchronisation outside of precopy with multifd: MFD311 to 313."""

from __future__ import annotations

from random import Random

from analyzers.mutation.legal import more_syncs, resend, sync_record
from analyzers.mutation.main_edits import add_flush, flush
from analyzers.mutation.mutation import Place
from analyzers.mutation.shape import Shape, avoid, is_command, need
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.wire.qemufile import CommandId


def flush_without_multifd(draft: Draft, random: Random) -> Place:
    avoid(draft.channels, "multifd channels")
    shape = Shape(draft)
    avoid(shape.mapped_ram, "the capability mapped-ram")
    if shape.per_round:
        return next(record for record in draft.main if isinstance(record.event, ev.Flush))
    return add_flush(draft, shape)


def without_channels(draft: Draft, random: Random) -> Place:
    """The channels of a stream with FLUSH records are taken away."""
    shape = Shape(draft)
    shape.multifd()
    need(shape.per_round, "FLUSH records")
    draft.channels.clear()
    return next(record for record in draft.main if isinstance(record.event, ev.Flush))


def in_postcopy(shape: Shape) -> list[Record]:
    """The records behind POSTCOPY_LISTEN."""
    main = shape.draft.main
    at = next((i for i, record in enumerate(main) if is_command(record, CommandId.POSTCOPY_LISTEN)), None)
    need(at is not None, "a postcopy phase")
    assert at is not None
    return main[at:]


def flush_in_postcopy(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    ends = [record for record in in_postcopy(shape) if isinstance(record.event, ev.EndOfRam)]
    need(ends, "RAM sections in its postcopy phase")
    return draft.before(ends[0], flush())


def data_in_postcopy(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    in_postcopy(shape)
    shape.multifd()
    channel = random.randrange(len(draft.channels))
    sync = sync_record(shape)
    draft.channels[channel].append(sync)
    record = resend(draft, random, channel=channel, before=sync)
    draft.drop(sync)
    draft.renumber()
    return record


def sync_in_postcopy(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    in_postcopy(shape)
    shape.multifd(2)
    return more_syncs(draft, 1, random.randrange(len(draft.channels)))
