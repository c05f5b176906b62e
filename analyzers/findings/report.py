"""The verdict on one migration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from analyzers.findings.facts import NOTHING_KNOWN, StreamFacts
from analyzers.findings.finding import Finding
from analyzers.findings.outcome import Outcome
from analyzers.findings.plain import encodable, plain, told
from analyzers.findings.reason import Reason, Step
from analyzers.findings.recorded import NOT_RECORDED, Recorded
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName


class InputInfo(NamedTuple):
    """What was read."""

    path: str
    kind: str
    bytes: int
    frames: int
    gaps: int
    files: tuple[tuple[str, int], ...] = ()
    """Where a recording consists of several capture files: their names and how many frames each has. Frame numbers go
    on from each to the next."""

    def file_of(self, frame: int | None) -> tuple[str, int] | None:
        """The name of the file that a frame is in, and its number there; None where there is only one."""
        for name, frames in self.files:
            if frame is not None and frame <= frames:
                return name, frame
            frame = None if frame is None else frame - frames
        return None

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON contract; ``files`` where there are several."""
        shown = {**self._asdict(), "path": encodable(self.path)}
        del shown["files"]
        files = [{"path": encodable(name), "frames": frames} for name, frames in self.files]
        return shown | ({"files": files} if files else {})


class ProfileChoice(NamedTuple):
    """The destination that judged, and whether its release was inferred from the stream."""

    destination: Destination
    inferred: bool
    evidence: tuple[str, ...] = ()
    """Why this one: one line a clue."""

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON contract."""
        one = self.destination
        named = {"name": one.name, "mode": one.mode.value, "channels": one.channels, "page_size": one.page_size}
        return {**named, "inferred": self.inferred, "evidence": list(self.evidence)}


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

    id: int
    """Its name, as findings and ``decode`` have it: see ``captures.model.Migration.names``."""
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
    stated: bool = True
    """A ChannelInit was recorded that states the id; else the channel is only called so."""


class DeviceSummary(NamedTuple):
    """Device state of one device, over all channels."""

    idstr: str
    instance_id: int
    packets: int
    bytes: int
    """Payload bytes, headers not counted."""
    complete: bool
    """Every index from 0 to the config packet is present once."""


class ConnectionSummary(NamedTuple):
    """One TCP connection of the migration, or the attempt at one."""

    channel: ChannelName
    """Its name in this report; a connection that is no channel goes by its port on the source's side."""
    kind: str
    source: str
    """Address and port."""
    destination: str
    frame: int
    """The first one of it."""
    answered: bool
    refused: bool
    sent: int
    """Bytes to the destination."""
    acknowledged: int | None
    received: int
    """Bytes to the source."""


class Elsewhere(NamedTuple):
    """What another destination makes of the same streams."""

    profile: str
    mode: Mode
    possible_outcomes: tuple[Outcome, ...]
    """Most harmless first."""
    why: str
    """The first reason; empty when there is none."""


CHANNEL_KEYS = tuple(name for name in ChannelSummary._fields if name not in ("label", "stated"))
FINDING_KEYS = ("rule", "severity", "channel", "offset", "length", "frame", "field", "message", "repeats")
REASON_KEYS = ("kind", "actor", "channel", "offset", "frame")
STEP_KEYS = ("actor", "channel", "offset", "frame")
"""Keys that are always there; the others where they are set."""


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
    reasons: tuple[Reason, ...] = ()
    """Who waits for whom, since which byte, and what is stuck behind it."""
    witness: tuple[Step, ...] = ()
    """A schedule that ends in ``outcome``, step by step."""
    monitor_alive: bool | None = None
    """For a hang: whether the destination's monitor still answers."""
    facts: StreamFacts = NOTHING_KNOWN
    """What the recording says of the migration as a whole: machine type, RAM blocks, compression, uuid, times."""

    connections: tuple[ConnectionSummary, ...] = ()
    """In the order in which they were opened; none without packets."""
    recorded: Recorded = NOT_RECORDED
    """What was seen to happen."""
    explained_by: tuple[Destination, ...] = ()
    """Destinations with which the streams end as was seen, when one like their sender does not."""
    elsewhere: tuple[Elsewhere, ...] = ()
    """The same streams for every release and mode, oldest first."""

    @property
    def outcome(self) -> Outcome:
        """The worst of the possible outcomes."""
        return max(self.possible_outcomes, key=lambda outcome: outcome.rank)

    @property
    def explanation(self) -> tuple[str, ...]:
        """The reasons as sentences."""
        return tuple(reason.text for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """The report as in the JSON contract, ``multifd-report/1``."""
        main = [] if self.main is None else [{"id": "main", **self.main._asdict()}]
        channels = [{name: getattr(channel, name) for name in CHANNEL_KEYS} for channel in self.channels]
        return {
            "input": self.input.to_dict(),
            "profile": None if self.profile is None else self.profile.to_dict(),
            "outcome": self.outcome.value,
            "possible_outcomes": plain(self.possible_outcomes),
            "monitor_alive": self.monitor_alive,
            "channels": main + channels,
            "devices": plain(self.devices),
            "findings": [{name: plain(getattr(finding, name)) for name in FINDING_KEYS} for finding in self.findings],
            "explanation": list(self.explanation),
            "reasons": [told(reason, REASON_KEYS) for reason in self.reasons],
            "witness": [step.text for step in self.witness],
            "schedule": [told(step, STEP_KEYS) for step in self.witness],
            "facts": self.facts.shown(),
            "connections": [plain(connection) for connection in self.connections],
            "recorded": self.recorded.to_dict(),
            "explained_by": [_named(destination) for destination in self.explained_by],
            "elsewhere": [plain(one) for one in self.elsewhere],
        }


def _named(destination: Destination) -> dict[str, Any]:
    return {
        "profile": destination.name,
        "mode": destination.mode.value,
        "channels": destination.channels,
        "compression": destination.compression,
    }
