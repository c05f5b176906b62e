"""Everything a rule may look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from analyzers.findings import ProfileChoice
from analyzers.judge.infer import Facts, Sender
from analyzers.judge.memory import MemoryVerdict
from analyzers.receiver.script import Script
from analyzers.receiver.solve import Lockstep
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.device_state import Buffer
from analyzers.survey.main import MainSurvey
from captures.model import StreamSource
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName


@dataclass(eq=False)
class Context:
    """One migration, surveyed and judged."""

    main: MainSurvey | None
    channels: Sequence[tuple[int, ChannelSurvey]]
    """Multifd channels by id (position where the id is not known), in the script's order."""
    profile: ProfileChoice
    sender: Sender
    stream_mode: Mode
    """The mode the records speak for, whatever the destination's."""
    script: Script
    lockstep: Lockstep
    memory: MemoryVerdict
    reduced: bool
    """Bytes are missing from the recording, so that counting proves nothing."""

    sources: dict[ChannelName, StreamSource]

    def frame(self, channel: ChannelName, offset: int) -> int | None:
        """Capture frame of a byte, None without a capture."""
        source = self.sources.get(channel)
        return source.frame_at(offset) if source is not None else None

    @property
    def pages_lost(self) -> bool:
        """Pages are never sent, for certain: a packet is missing, or a page stands twice in place of another."""
        return bool(self.memory.never_sent and self.memory.wrong)

    @property
    def destination(self) -> Destination:
        return self.profile.destination

    @property
    def facts(self) -> Facts:
        return Facts(self.main, [survey for _, survey in self.channels])

    @cached_property
    def devices(self) -> Mapping[DeviceKey, Sequence[tuple[int, Buffer]]]:
        """Channel id and packet of everything that channels carry of each device."""
        found: defaultdict[DeviceKey, list[tuple[int, Buffer]]] = defaultdict(list)
        for number, survey in self.channels:
            for item in survey.items:
                if item.buffer is not None and item.buffer.terminated:
                    found[item.buffer.device].append((number, item.buffer))
        return found

    def takes_buffers(self, device: DeviceKey) -> bool:
        """Whether a device takes device-state packets, as far as the sections on main show."""
        return self.main is None or self.main.eof is None or device in self.main.vfio
