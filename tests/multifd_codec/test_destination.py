"""A destination is one value, whoever gives it."""

from __future__ import annotations

import pytest

from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import RELEASES, RFC_V3, Mode
from multifd_codec.errors import InputError


@pytest.mark.parametrize(
    ("profile", "name"), [("10.0", "qemu-10.0"), ("qemu-10.0.13", "qemu-10.0"), (RFC_V3, RFC_V3), ("7.2", "qemu-7.2")]
)
def test_a_profile_names_its_release(profile: str, name: str) -> None:
    assert Destination(profile).name == name


def test_what_a_stable_release_took_over_is_a_habit_of_that_destination_only() -> None:
    assert Destination("qemu-10.0.13").habits != Destination("qemu-10.0").habits == RELEASES[10, 0].destination


def test_words_are_values() -> None:
    mode: Mode = "per-section"  # type: ignore[assignment]  # as JSON and people give it
    destination = Destination("qemu-10.0", mode, compression="zlib")
    assert destination == Destination("qemu-10.0", Mode.PER_SECTION, compression="zlib")
    assert destination.mode is Mode.PER_SECTION and destination.compression_flag == 2


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="per-page"):
        Destination("qemu-10.0", "per-page")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="newest"):
        _ = Destination("qemu-99.0").habits
    with pytest.raises(InputError, match="lz4"):
        _ = Destination("qemu-10.0", compression="lz4").compression_flag
