"""What rows of the rulebook say beside their texts: where a rule is broken, and what a destination does about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from captures.model import NoteKind
from multifd_codec.main.problems import ProblemKind
from multifd_codec.wire.qemufile import CommandId


class Load(enum.Enum):
    """What a destination's load does at a problem of the main channel."""

    FAILS = enum.auto()
    MAY_FAIL = enum.auto()
    """The stream alone does not decide it."""
    GOES_ON = enum.auto()
    """A destination does not notice, or only warns."""
    BY_RELEASE = enum.auto()
    """Some releases refuse it (``analyzers.judge.scripts``)."""


@dataclass(frozen=True, slots=True, eq=False)
class MainProblem:
    """A problem that the decoder of the main channel finds."""

    kind: ProblemKind
    load: Load = Load.FAILS
    answered: frozenset[CommandId] = frozenset()
    """Commands at which the load goes on: a destination answers them with a message only
    (loadvm_postcopy_handle_resume, loadvm_handle_recv_bitmap, migration/savevm.c; measured with 7.2 and 10.0)."""
    silent: bool = False
    """Not said: it limits the reader, not the stream."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordingNote:
    """What a reader notices about a recording."""

    kind: NoteKind
    if_headers_cut: bool = False
    """Only where more than page payload is missing."""


Condition = MainProblem | RecordingNote
