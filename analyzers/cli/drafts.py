"""A recorded migration as records to be edited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analyzers.cli.errors import Stop, describe, say
from analyzers.cli.inputs import choose_migration, require_migration
from analyzers.report.exit_codes import ExitCode
from multifd_codec.errors import HoleError

if TYPE_CHECKING:
    from captures.model import Migration, Recording
    from multifd_codec.draft.draft import Draft


def draft_of(path: Path, recording: Recording, migration: int | None, page_size: int | None) -> tuple[Migration, Draft]:
    """The migration that is asked for, and its records.

    Raises InputError, and Stop, said why, when bytes are missing in it.
    """
    from analyzers.produce.draft_of_recording import draft_of_migration  # noqa: PLC0415

    require_migration(recording)
    chosen = choose_migration(recording, migration)
    try:
        return chosen, draft_of_migration(chosen, page_size)
    except HoleError as error:
        say(f"{path}: {describe(error)}")
        raise Stop(ExitCode.INCOMPLETE) from None
