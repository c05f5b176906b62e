"""What happened cannot be put into a stream."""

from __future__ import annotations

from analyzers.mutation.mutation import Mutation
from analyzers.rulebook.happened.rules import RULES

MUTATIONS: tuple[Mutation, ...] = ()
WITHOUT = {
    rule.code: "what happened shows in packets and times of a real destination, not in a stream" for rule in RULES
}
