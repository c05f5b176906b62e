"""The devices of one QEMU, and the thread that starts it and answers for them."""

from __future__ import annotations

import errno
import itertools
import os
import select
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from captures.qemu.vfio.device import LiveDevice, VfioDevice
from captures.qemu.vfio.kernel import Kernel, Memory
from captures.qemu.vfio.stopping import Listener, Stopped
from multifd_codec.errors import InputError

_PREFIX = "multifd-vfio"
_MEMFD = "/memfd:"
_DELETED = " (deleted)"
_IOMMU_ID = "vfio-iommu"
_count = itertools.count()


class VfioDevices:
    """Files, arguments and answers for one QEMU; ``launch`` once, ``close`` when it has ended."""

    def __init__(self, options: Sequence[VfioDevice]) -> None:
        own = f"{_PREFIX}-{next(_count)}"
        self._iommu = os.memfd_create(f"{own}:iommu")
        self._devices = {
            name: LiveDevice(device, name) for name, device in ((f"{own}:{n}", one) for n, one in enumerate(options))
        }
        self._kernel = Kernel(self._devices, f"{own}:iommu")
        self._thread: threading.Thread | None = None

    @property
    def files(self) -> tuple[int, ...]:
        """Descriptors that QEMU inherits under the same numbers."""
        return (self._iommu, *(device.descriptor for device in self._devices.values()))

    @property
    def arguments(self) -> list[str]:
        """For QEMU's command line."""
        result = ["-object", f"iommufd,id={_IOMMU_ID},fd={self._iommu}"]
        for number, device in enumerate(self._devices.values()):
            given = {
                "id": f"vfio{number}",  # without one 10.2 and 11.1 die of a null pointer
                "iommufd": _IOMMU_ID,
                "fd": str(device.descriptor),
                "addr": f"{device.options.slot:#x}",
                "rombar": "0",  # a file keeps what is written to it: the ROM would look as large as its mask
                "enable-migration": "on",
                "x-migration-multifd-transfer": device.options.multifd_transfer,
                **dict(device.options.properties),
            }
            result += ["-device", "vfio-pci," + ",".join(f"{name}={value}" for name, value in given.items())]
        return result

    def launch(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start QEMU by ``start``, on a thread that stays with it: filters are a thread's, and pile up on it.

        Raises InputError where system calls cannot be stopped, and what ``start`` raises.
        """
        started: Future[subprocess.Popen[bytes]] = Future()
        self._thread = threading.Thread(target=self._run, args=(start, started), name="multifd-vfio", daemon=True)
        self._thread.start()
        return started.result()

    def _run(self, start: Callable[[], subprocess.Popen[bytes]], started: Future[subprocess.Popen[bytes]]) -> None:
        try:
            listener = _listener()
            process = start()
            ended = os.pidfd_open(process.pid)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        try:
            self._serve(listener, ended)
        finally:
            os.close(ended)
            listener.close()

    def _serve(self, listener: Listener, ended: int) -> None:
        """Until QEMU has ended. Each call gets an answer, whatever happens here: QEMU would wait for ever."""
        poll = select.poll()
        poll.register(listener.descriptor, select.POLLIN)
        poll.register(ended, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if listener.descriptor in ready:
                with suppress(OSError):
                    if (stopped := listener.receive()) is not None:
                        listener.answer(stopped, self._answer(listener, stopped))
            elif ended in ready:
                return

    def _answer(self, listener: Listener, stopped: Stopped) -> int | None:
        try:
            target = os.readlink(f"/proc/{stopped.thread}/fd/{stopped.descriptor}")  # noqa: PTH115 - called often
            if not target.startswith(_MEMFD):
                return None
            memory = os.open(f"/proc/{stopped.thread}/mem", os.O_RDWR)
            try:
                return self._kernel.answer(
                    target.removeprefix(_MEMFD).removesuffix(_DELETED),
                    stopped.request,
                    Memory(memory, stopped.address),
                    lambda own: listener.give(stopped, own),
                )
            finally:
                os.close(memory)
        except OSError as error:
            return -(error.errno or errno.EIO)
        except Exception:
            return -errno.EIO

    def loaded(self) -> tuple[bytes | None, ...]:
        """What QEMU has loaded into each device so far; None: it has not begun to. Also while it is frozen."""
        return tuple(device.loaded() for device in self._devices.values())

    def close(self) -> None:
        """QEMU has ended."""
        if self._thread is not None:
            self._thread.join(1.0)
        for device in self._devices.values():
            device.close()
        if self._iommu >= 0:
            os.close(self._iommu)
            self._iommu = -1


def why_impossible() -> str | None:
    """Why devices cannot be made on this machine; None: they can."""
    try:
        VfioDevices(()).launch(lambda: subprocess.Popen(["true"])).wait()
    except InputError as error:
        return error.message
    return None


def _listener() -> Listener:
    try:
        return Listener()
    except OSError as error:
        raise InputError(
            "VFIO devices cannot be made here: no seccomp user notification "
            f"({error.strerror}; it needs Linux 5.9 on x86-64 or aarch64, and no wrapper that has one)"
        ) from None
