"""The capture files that are read here, by the four bytes in front."""

from __future__ import annotations

from collections.abc import Mapping

from captures.formats.pcap import VARIANTS, PcapFile
from captures.formats.pcapng import MAGIC, PcapngFile
from captures.formats.records import CaptureFormat

MAGIC_SIZE = 4
CAPTURE_FORMATS: Mapping[bytes, type[CaptureFormat]] = {**dict.fromkeys(VARIANTS, PcapFile), MAGIC: PcapngFile}
