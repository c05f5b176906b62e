"""A destination: a QEMU that waits for a migration."""

from __future__ import annotations

from captures.qemu.binary import Qemu
from captures.qemu.guest import DestinationOptions, Guest
from captures.qemu.process import GoneError
from multifd_codec.errors import InputError

HOST = "127.0.0.1"


class Destination(Guest):
    """A destination process; ``listen`` makes it wait for a migration on a free port of its own."""

    def __init__(self, qemu: Qemu, options: DestinationOptions) -> None:
        self.port = 0
        super().__init__(qemu, options, ("-incoming", "defer", *options.arguments))

    async def listen(self, options: DestinationOptions | None = None) -> None:
        """Get ready for a migration, with the channels, compression and capabilities of ``options``.

        Raises InputError when it refuses them or does not answer.
        """
        try:
            await self.set_up(options or self.options)
            await self.execute("migrate-incoming", {"uri": f"tcp:{HOST}:0"})
            status = await self.execute("query-migrate")
            self.port = int(status["socket-address"][0]["port"])
        except GoneError:
            raise InputError(f"{self.qemu.name}: did not get ready: {self.words() or 'no answer'}") from None
        except (KeyError, IndexError, ValueError, TypeError):
            raise InputError(f"{self.qemu.name}: does not say on which port it listens") from None
