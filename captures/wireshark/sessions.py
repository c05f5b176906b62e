"""What the handshakes of TLS sessions say in the clear, read with pyshark: who cannot be decrypted, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_CLIENT_HELLO = "1"


class TlsSession(NamedTuple):
    """The hellos of one TLS connection. Strings are empty for what was not captured."""

    server_port: int
    client_port: int
    client_random: str
    """32 bytes as hex, the name under which a key log files the secrets of the session."""
    cipher_suite: str


def read_sessions(path: Path, ports: Iterable[int]) -> tuple[TlsSession, ...]:
    """The sessions whose hellos are in the capture at ``path``, which should hold little else: pyshark is slow.

    ``ports``: TCP ports at which TLS is spoken. Empty when pyshark (extra ``wireshark``) is missing.
    """
    import asyncio  # noqa: PLC0415 -- slow to import

    try:
        import pyshark  # noqa: PLC0415 -- an extra, and slow to import
    except ImportError:
        return ()
    sessions: dict[str, TlsSession] = {}
    # XML, asyncio and missing attributes can raise anything here; it costs a note its details, no more.
    with (
        contextlib.suppress(Exception),
        # Given none, pyshark takes the process's own and leaves it a handler of SIGCHLD for good.
        contextlib.closing(asyncio.new_event_loop()) as loop,
        pyshark.FileCapture(
            str(path),
            display_filter="tls.handshake.type == 1 || tls.handshake.type == 2",
            decode_as={f"tcp.port=={port}": "tls" for port in ports},
            keep_packets=False,
            custom_parameters=["-n"],
            eventloop=loop,
        ) as capture,
    ):
        for packet in capture:
            stream = str(packet.tcp.stream)
            if str(packet.tls.handshake_type) == _CLIENT_HELLO:
                random = str(packet.tls.handshake_random).replace(":", "").lower()
                sessions[stream] = TlsSession(int(packet.tcp.dstport), int(packet.tcp.srcport), random, "")
            elif stream in sessions:
                suite = packet.tls.handshake_ciphersuite.showname_value
                sessions[stream] = sessions[stream]._replace(cipher_suite=str(suite))
    return tuple(sessions.values())
