"""What a person or a CI gets: findings, outcomes, the report of one migration.

The JSON contract (``multifd-report/1``) is produced from these values by ``analyzers.report``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from multifd_codec.errors import ChannelName


class Severity(enum.StrEnum):
    """How bad a finding is. Only errors make exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Outcome(enum.StrEnum):
    """How a destination can end, from harmless to worst."""

    COMPLETES = "completes"
    UNDECIDED = "undecided"
    """The recording lacks bytes the answer depends on."""
    FAILS = "fails"
    """An error is reported: the process exits or the status becomes failed."""
    LOSES_DATA = "loses-data"
    """Completed is reported, but guest memory or device state is wrong."""
    HANGS = "hangs"
    CRASHES = "crashes"

    @property
    def rank(self) -> int:
        """0 for the most harmless; the worst outcome of a set has the highest rank."""
        return list(Outcome).index(self)


class Finding(NamedTuple):
    """One violation or remark, located on the wire."""

    rule: str
    """Rule code, ``MFD301``."""
    severity: Severity
    message: str
    """One line, concrete: values seen, values expected."""
    channel: ChannelName | None = None
    offset: int | None = None
    """Bytes from the start of that channel's stream to the record the finding is about."""
    length: int | None = None
    """Length in bytes of that record."""
    frame: int | None = None
    """Capture frame number, from 1; None without a capture."""
    field: str | None = None
    """Wire field, as the declarations in ``multifd_codec.wire`` name it."""
    repeats: int = 0
    """How many further findings of this rule on this channel were folded into this one."""


class InputInfo(NamedTuple):
    """What was read."""

    path: str
    kind: str
    bytes: int
    frames: int
    gaps: int


class ProfileChoice(NamedTuple):
    """The destination that judged, and whether it was inferred from the stream."""

    name: str
    """``qemu-10.0`` or ``rfc-v3``."""
    mode: str
    """``per-section`` or ``per-round``."""
    channels: int
    page_size: int
    inferred: bool
    evidence: tuple[str, ...] = ()
    """Why this profile: one line a clue."""


class MainSummary(NamedTuple):
    """Counts of the main channel."""

    bytes: int
    rendezvous: int
    """Rendezvous records (FLUSH per round, EOS per section) in what was understood."""
    complete: bool
    """The whole stream was understood, up to the EOF byte and the vmdescription."""
    understood: int
    """Offset up to which the main channel was understood."""


class ChannelSummary(NamedTuple):
    """Counts of one multifd channel."""

    id: int | None
    bytes: int
    packets: int
    sync: int
    """Packets with the SYNC flag, pages or not."""
    ram: int
    """RAM packets without the SYNC flag."""
    device_state: int
    normal_pages: int
    zero_pages: int
    complete: bool
    """No hole over a header, and the stream's end was recorded or is a packet boundary."""
    label: str = ""


class DeviceSummary(NamedTuple):
    """Device state of one device, over all channels."""

    idstr: str
    instance_id: int
    packets: int
    bytes: int
    """Payload bytes, headers not counted."""
    complete: bool
    """Every index from 0 to the config packet is present once."""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one migration."""

    input: InputInfo
    profile: ProfileChoice | None
    """None where the input could not be judged at all (TLS without keys)."""
    possible_outcomes: tuple[Outcome, ...]
    """All outcomes the destination can reach, most harmless first."""
    main: MainSummary | None
    channels: tuple[ChannelSummary, ...] = ()
    devices: tuple[DeviceSummary, ...] = ()
    findings: tuple[Finding, ...] = ()
    explanation: tuple[str, ...] = ()
    """Plain sentences: who waits for whom, since which byte, and what is stuck behind it."""
    witness: tuple[str, ...] = ()
    """A schedule that ends in ``outcome``, step by step."""
    monitor_alive: bool | None = None
    """For a hang: whether the destination's monitor still answers."""
    facts: dict[str, str] = field(default_factory=dict)
    """What ``info`` shows beside the counts: machine, compression, UUID, duration."""

    @property
    def outcome(self) -> Outcome:
        """The worst of the possible outcomes."""
        return max(self.possible_outcomes, key=lambda outcome: outcome.rank)
