"""vfio-pci devices that do not exist, for stock QEMUs: the ioctls of VFIO and IOMMUFD are answered here.

    devices = VfioDevices((VfioDevice(size=300 << 10, slot=4),))
    process = devices.launch(lambda: subprocess.Popen([*command, *devices.arguments], pass_fds=devices.files, ...))
    devices.loaded()  # what a destination has loaded so far, also when it is frozen

Linux 5.9 or later on x86-64 or aarch64; no privilege, kernel module or hardware. QEMU 10.0 or later, TCG (KVM wants a
real VFIO file).
"""

from captures.qemu.vfio.device import VfioDevice, made_state
from captures.qemu.vfio.devices import VfioDevices, why_impossible

__all__ = ["VfioDevice", "VfioDevices", "made_state", "why_impossible"]
