"""A destination that dies behind the SHUT with which it says that all went well."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.evidence.return_path import Said
from analyzers.evidence.timeline import Timeline
from captures.conduct import Moment
from captures.model import ChannelKind
from multifd_codec.wire.return_path import ReturnPathType

DIES_WITHIN = 0.1
"""Seconds behind SHUT in which an assertion of the cleanup strikes (measured: 3 ms). Later a person may have ended the
process: 5.2 leaves its multifd channels open behind a postcopy until it exits."""
REQUESTS = (ReturnPathType.REQ_PAGES, ReturnPathType.REQ_PAGES_ID)


def died_in_cleanup(line: Timeline, messages: Sequence[Said], *, postcopy: bool) -> Moment | None:
    """When the process of a destination that says SHUT 0 behind a postcopy ended; None: it did not die. ``postcopy``:
    main says that it was one.

    Releases that can do multifd and postcopy close their multifd channels in front of SHUT, all before them not at all
    (migration_incoming_state_destroy, migration/migration.c, since 8.0; the assertion is 7.2's, util/yank.c): where all
    are closed close behind it, a kernel did that.
    """
    shut = next((one for one in messages if one.type == ReturnPathType.SHUT and one.value == 0), None)
    asked = postcopy or any(one.type in REQUESTS for one in messages)
    if shut is None or shut.moment is None or not asked:
        return None
    channels = [named for named in line.connections if named.connection.kind is ChannelKind.MULTIFD]
    closed = [named.gave_up(1) for named in channels]
    behind = [one for one in closed if one is not None and one > shut.moment]
    if not behind or len(behind) < len(channels) or line.between(shut.moment, max(behind)) > DIES_WITHIN:
        return None
    return min(behind)
