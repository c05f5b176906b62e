"""Mutations of a recording: what a tap missed of a stream that is as it should be.

They stand here, not among the mutations of streams, so that those know nothing of captures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analyzers.mutation.mutation import Mutation, Place
from captures.write.tap import Tap
from multifd_codec.draft.draft import Draft


def whole(draft: Draft, place: Place) -> Tap:
    """Nothing is missing."""
    return Tap()


@dataclass(frozen=True, slots=True)
class Spoilt(Mutation):
    """A mutation whose result must be recorded in a certain way."""

    captured: bool = True
    tap: Callable[[Draft, Place], Tap] = whole
    near_tap: Callable[[Draft, Place], Tap] = whole
