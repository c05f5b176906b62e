"""What the handshakes of TLS sessions say in the clear, read with pyshark: who cannot be decrypted, and why."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from captures.wireshark.tshark import find_tshark

_HELLOS = "tls.handshake.type == 1 || tls.handshake.type == 2"
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
    try:
        from pyshark.tshark.output_parser.tshark_xml import (  # noqa: PLC0415 -- an extra, and slow to import
            packet_from_xml_packet,
        )
    except ImportError:
        return ()
    sessions: dict[str, TlsSession] = {}
    # XML and missing attributes can raise anything here; it costs a note its details, no more.
    with contextlib.suppress(Exception):
        for dissected in _dissected(path, ports):
            packet = packet_from_xml_packet(dissected)
            stream = str(packet.tcp.stream)
            if str(packet.tls.handshake_type) == _CLIENT_HELLO:
                random = str(packet.tls.handshake_random).replace(":", "").lower()
                sessions[stream] = TlsSession(int(packet.tcp.dstport), int(packet.tcp.srcport), random, "")
            elif stream in sessions:
                suite = packet.tls.handshake_ciphersuite.showname_value
                sessions[stream] = sessions[stream]._replace(cipher_suite=str(suite))
    return tuple(sessions.values())


def _dissected(path: Path, ports: Iterable[int]) -> Iterator[bytes]:
    """The hellos as tshark's XML, each one element.

    pyshark would run tshark in an event loop, leave a handler of SIGCHLD, and lose the exit code of a tshark that ends
    while it is about to end it.
    """
    command = [find_tshark(), "-n", "-r", str(path), "-Y", _HELLOS, "-T", "pdml"]
    for port in ports:
        command += ["-d", f"tcp.port=={port},tls"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    yield from re.findall(rb"<packet>.*?</packet>", done.stdout, re.DOTALL)
