"""The one device that every precopy stream carries: the source's run state as text.

Source: global_state_post_load, migration/global_state.c (2.4 to 11.1): the load fails at a name that no run state has.
"""

from __future__ import annotations

from multifd_codec.names import until_nul

GLOBAL_STATE = "globalstate"
RUN_STATE = slice(4, 4 + 100)
"""The name in the device's body, behind its be32 length and up to the first NUL; 32 bytes since 8.2, 100 before."""
RUN_STATES = frozenset(
    {
        b"debug",
        b"inmigrate",
        b"internal-error",
        b"io-error",
        b"paused",
        b"postmigrate",
        b"prelaunch",
        b"finish-migrate",
        b"restore-vm",
        b"running",
        b"save-vm",
        b"shutdown",
        b"suspended",
        b"watchdog",
        b"guest-panicked",
        b"colo",
        b"preconfig",
    }
)


def unknown_run_state(body: bytes) -> str | None:
    """The name in the body of device ``globalstate`` when no run state is called so."""
    name = until_nul(body[RUN_STATE])
    return None if name in RUN_STATES else name[:32].decode("ascii", "backslashreplace")
