"""A capture that tshark can open by a name: several files put together, or what came through a pipe written out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from captures.formats.mapped import Opened
from captures.formats.pipes import is_pipe
from multifd_codec.errors import InputError


@contextmanager
def one_file(files: Sequence[Opened]) -> Iterator[Path]:
    """The file itself if it is one that has a name, else a temporary one; frames in the order of the files. Raises
    InputError, OSError."""
    with ExitStack() as stack:
        paths = [_named(opened, stack) for opened in files]
        if len(paths) == 1:
            yield paths[0]
            return
        program = shutil.which("mergecap")
        if program is None:
            raise InputError("captures are put together for tshark by mergecap, which is not installed")
        joined = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".pcapng"))
        command = [program, "-a", "-F", "pcapng", "-w", joined.name, *(str(path.resolve()) for path in paths)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{files[0].path}: {(done.stderr.strip().splitlines() or ['mergecap failed'])[-1]}")
        yield Path(joined.name)


def _named(opened: Opened, stack: ExitStack) -> Path:
    if not is_pipe(opened.path):
        return opened.path
    written = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".pcap"))  # noqa: SIM115 -- the stack closes it
    written.write(opened.file.view)
    written.flush()
    return Path(written.name)
