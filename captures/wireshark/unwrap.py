"""Any capture that tshark dissects -> the same frames as raw IP, for the native reader.

tshark takes off what the native reader does not speak: tunnels, tagging, radio and serial links, file formats, IP
fragments. Reassembly and the rest stay with the native reader, so both ways give the same channels.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import IO, NamedTuple

from captures.model import ProgressCallback
from captures.wireshark.raw_frames import FILE_HEADER, Segment, write_record
from captures.wireshark.tshark import TsharkEnd, rows

_FIELDS = (
    "frame.number", "frame.time_epoch", "frame.cap_len", "frame.protocols",
    "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport",
    "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.len", "tcp.payload",
)  # fmt: skip
# What a frame carries is wanted as it is: no stream put together, nothing remembered between frames.
_OPTIONS = ("-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE")
PROGRESS_FRAMES = 256
_MOST_TLS_PORTS = 256


class Unwrapped(NamedTuple):
    """What unwrapping found out on the way."""

    frames: int
    tls_ports: frozenset[int]
    """TCP ports to which somebody sent what begins like a TLS handshake."""
    end: TsharkEnd


def nanoseconds(epoch: str) -> int:
    """tshark's ``frame.time_epoch`` (decimal seconds) as an integer; 0 when it has none."""
    seconds, _, fraction = epoch.partition(".")
    if not (seconds.isdigit() and fraction.isdigit()):
        return 0
    return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def unwrap(path: Path, out: IO[bytes], progress: ProgressCallback | None = None) -> Unwrapped:
    """Write every frame of ``path`` to ``out`` as one raw IP record. Raises InputError, OSError from ``out``."""
    total = path.stat().st_size
    out.write(FILE_HEADER)
    frames = done = 0
    tls_ports: Counter[int] = Counter()
    table = rows(path, _FIELDS, _OPTIONS)
    while True:
        try:
            row = next(table)
        except StopIteration as stop:
            ports = frozenset(port for port, _ in tls_ports.most_common(_MOST_TLS_PORTS))
            return Unwrapped(frames, ports, stop.value)
        frames += 1
        segment = _segment(row)
        write_record(out, nanoseconds(row[1]), segment)
        # A handshake record (22) of any 3.x version, and in it a ClientHello (1): who gets it is the server.
        if segment is not None and segment.payload[:2] == b"\x16\x03" and segment.payload[5:6] == b"\x01":
            tls_ports[segment.destination_port] += 1
        done += int(row[2] or 0)
        if progress is not None and frames % PROGRESS_FRAMES == 0:
            progress("reading with tshark", min(done, total), total)


def _segment(row: list[str]) -> Segment | None:
    """The TCP segment of a row; None when the frame has none, or only quotes one (an ICMP error), or it is cut off."""
    _, _, _, protocols, ip_src, ip_dst, ip6_src, ip6_dst, sport, dport, *numbers, length, payload = row
    sequence, ack, flags, window = numbers
    layers = protocols.split(":")
    if not (sport and dport and sequence and flags) or "tcp" not in layers or "icmp" in layers or "icmpv6" in layers:
        return None
    carriers = [layer for layer in layers[: layers.index("tcp")] if layer in ("ip", "ipv6")]
    source, destination = (ip6_src, ip6_dst) if carriers[-1:] == ["ipv6"] else (ip_src, ip_dst)
    if not (source and destination):
        return None
    data = bytes.fromhex(payload)
    return Segment(
        source, destination, int(sport), int(dport), int(sequence), int(ack or 0), int(flags, 16),
        max(int(length or 0), len(data)), data, int(window or 0),
    )  # fmt: skip
