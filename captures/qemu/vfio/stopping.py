"""System calls of a child, stopped and answered: seccomp's user notification (seccomp(2), seccomp_unotify(2))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from typing import NamedTuple

from captures.qemu.vfio.interface import IOCTL_TYPE

SECCOMP = {"x86_64": 317, "aarch64": 277}
"""Number of seccomp(2) on the machines this was made for."""
IOCTL = {0xC000003E: 16, 0x40000003: 54, 0xC00000B7: 29}
"""Number of ioctl(2) for each audit architecture: x86-64, i386, aarch64."""
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_ALLOW, _STOP = 0x7FFF0000, 0x7FC00000
_CONTINUE = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
"""id, pid, flags, then seccomp_data: system call, architecture, instruction, six arguments."""
_RESPONSE = struct.Struct("=QqiI")
_DESCRIPTOR = struct.Struct("=QIIII")
_RECEIVE, _SEND, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
"""Instructions of classic BPF: load a word, jump if equal, mask, return."""
_NUMBER, _ARCHITECTURE, _SECOND_ARGUMENT = 0, 4, 24
"""Offsets in seccomp_data, of the argument its low half."""

_libc = ctypes.CDLL(None, use_errno=True)


class Stopped(NamedTuple):
    """An ioctl that waits for its answer."""

    cookie: int
    thread: int
    """Of the caller, in our namespace."""
    descriptor: int
    """Its first argument, a descriptor of the caller."""
    request: int
    address: int
    """Its third argument, in the caller's memory."""


class Listener:
    """What the filter of one thread, and of what that thread starts from now on, stops: ioctls of one type.

    Raises OSError: ENOSYS where it cannot be had, EBUSY below a filter that has a listener already. The filter stays
    for as long as the thread does.
    """

    def __init__(self) -> None:
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or platform.machine() not in SECCOMP:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        program = _program()
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
        head = struct.pack("@HP", len(program), ctypes.addressof(code))
        number = SECCOMP[platform.machine()]
        for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):  # the former is of Linux 5.19
            self.descriptor: int = _libc.syscall(number, _SET_MODE_FILTER, flags, head)
            if self.descriptor >= 0:
                os.set_inheritable(self.descriptor, False)
                return
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def receive(self) -> Stopped | None:
        """The next one, waited for. None: its caller is gone."""
        raw = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, raw)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        cookie, thread, _, _, _, _, descriptor, request, address, *_ = _NOTIFICATION.unpack(raw)
        return Stopped(cookie, thread, descriptor, request, address)

    def answer(self, stopped: Stopped, value: int | None) -> None:
        """What the ioctl returns, negative an error number; None: it goes on to the kernel."""
        flags = _CONTINUE if value is None else 0
        reply = _RESPONSE.pack(stopped.cookie, max(value or 0, 0), min(value or 0, 0), flags)
        try:
            fcntl.ioctl(self.descriptor, _SEND, bytearray(reply))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def give(self, stopped: Stopped, descriptor: int) -> int:
        """A copy of one of our descriptors for the caller; its number there."""
        wanted = _DESCRIPTOR.pack(stopped.cookie, 0, descriptor, 0, os.O_CLOEXEC)
        number: int = fcntl.ioctl(self.descriptor, _ADD_DESCRIPTOR, bytearray(wanted))
        return number

    def close(self) -> None:
        os.close(self.descriptor)


def _program() -> list[tuple[int, int, int, int]]:
    """(instruction, jump if so, jump if not, operand), jumps relative."""
    allow, stop = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _STOP)
    program = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for architecture, ioctl in IOCTL.items():
        program += [
            (_EQUAL, 0, 7, architecture),  # another one: to the next block
            (_LOAD, 0, 0, _NUMBER),
            (_EQUAL, 0, 3, ioctl),
            (_LOAD, 0, 0, _SECOND_ARGUMENT),
            (_AND, 0, 0, 0xFFFFFF00),
            (_EQUAL, 1, 0, IOCTL_TYPE << 8),
            allow,
            stop,
        ]
    return [*program, allow]
