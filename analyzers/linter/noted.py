"""What kind of migration it is when it is not multifd, or more than it, and what of it is not judged."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Actor, Kind, Reason
from analyzers.rulebook.codes import MFD521
from analyzers.survey.main import RecordKind
from analyzers.survey.migration import Surveyed
from captures.model import ChannelKind
from multifd_codec.source import read_known


def noted(surveyed: Surveyed) -> Iterator[Reason]:
    """A sentence for each, for whoever wonders why the verdict does not speak of it."""
    main = surveyed.main
    if main is None:
        return
    if main.cut_regions:
        yield _note("the file ends in front of its pages: with multifd a destination dies of SIGSEGV, without it fails")
    if surveyed.mapped_ram:
        return
    if main.compress_page is not None and not surveyed.channels:
        yield _note(
            "this is not multifd: pages travel on main, each compressed by itself (the old capability compress)"
        )
    elif MFD521 in main.hits and not surveyed.channels:
        yield _note("this is not multifd: pages travel on main")
    sent = main.iterates or surveyed.channels or main.pages or main.count(RecordKind.FLUSH) or main.source.holes()
    if main.eof is not None and not sent and not surveyed.partial:
        yield _note("no page is on the wire: memory is shared with the destination, as with cpr-transfer; not judged")
    if main.skips_pages:
        yield _note("pages that are never sent are not judged: virtio-mem or free page hinting leave pages out")
    others = [c for c in surveyed.migration.channels if c.kind is ChannelKind.UNKNOWN and read_known(c.source, 0, 1)]
    if main.postcopy and others:
        yield _note("the preempt channel of postcopy is not judged: it carries pages only")


def _note(text: str) -> Reason:
    return Reason(Kind.NOTED, Actor.SOURCE, because=text)
