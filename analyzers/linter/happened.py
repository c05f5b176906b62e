"""Findings about what was seen to happen: MFD701 to MFD708."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Outcome, Severity
from analyzers.findings.kinds import Actor, Kind
from analyzers.findings.reason import Reason, channel_text
from analyzers.findings.recorded import Ended, Recorded, Side
from analyzers.linter.found import Found
from analyzers.rulebook.codes import MFD702, MFD703, MFD704, MFD705, MFD706, MFD707, MFD708
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.destination import Destination

RULE_OF = {
    Kind.RETRANSMITTED: MFD702,
    Kind.CUT: MFD702,
    Kind.WINDOW_SHUT: MFD703,
    Kind.UNANSWERED: MFD704,
    Kind.REFUSED: MFD704,
    Kind.SILENT: MFD705,
}
"""Facts that are wrong by themselves."""
CONSEQUENCES = (MFD703, MFD705)
"""What follows from a network that lets nothing through, or from a migration that is over for another reason."""
IN_WORDS = {
    Ended.COMPLETED: "the migration completed",
    Ended.FAILED: "the migration failed",
    Ended.HUNG: "the migration hung",
}


def found_by_packets(seen: Recorded) -> Iterator[tuple[Rule, Found]]:
    """What the packets show to be wrong."""
    broken = seen.ended in (Ended.HUNG, Ended.FAILED)
    outside = any(stall.by is Side.NETWORK for stall in seen.stalled)
    for fact in seen.evidence:
        rule = RULE_OF.get(fact.kind)
        if rule is not None:
            mild = not broken or (outside and rule in CONSEQUENCES)
            yield rule, _found(fact, fact.text, Severity.INFO if mild else None)
    first = _gave_up(seen)
    if seen.ended is Ended.CANCELLED:
        yield MFD707, _found(first, "cancelled by the source, at packet boundaries", Severity.WARNING)
    elif seen.ended is Ended.FAILED and seen.gave_up_first is Side.DESTINATION:
        yield MFD706, _found(first, _how(first, "the destination gave up"))
    elif seen.ended is Ended.FAILED and seen.gave_up_first is Side.SOURCE:
        yield MFD707, _found(first, _how(first, "the source gave up"))
    elif seen.ended is Ended.FAILED:
        alone = next((fact for fact in seen.evidence if fact.kind is Kind.LOST_ALONE), None)
        yield MFD704, _found(alone, "a connection of the migration was refused" if alone is None else alone.text)
    elif seen.ended is Ended.HUNG:
        yield MFD708, _found(_stand_still(seen), _stood_still(seen))


def found_by_comparison(
    seen: Recorded, judged_as: Destination, outcome: Outcome, explained: tuple[Destination, ...]
) -> Found:
    """MFD701: what was seen is none of what the destination that judges does."""
    foreseen = f"where {destination_text(judged_as)} {outcome}"
    return Found(f"{IN_WORDS[seen.ended]}, {foreseen}{_explained(seen, explained)}")


def _explained(seen: Recorded, explained: tuple[Destination, ...]) -> str:
    if seen.ended is Ended.FAILED:
        return ": the streams give no reason, the destination's own log may"
    return f"; it is what {destination_text(explained[0])} does" if explained else "; no other destination explains it"


HOW = (
    Kind.CHANNELS_SHUT,
    Kind.LOAD_FAILED,
    Kind.GAVE_UP_LOADING,
    Kind.TAKES_FEWER,
    Kind.TAKES_NONE,
    Kind.TAKES_NOTHING,
    Kind.KNOWS_NO_TLS,
    Kind.DIED,
    Kind.SOURCE_DIED,
)
"""How somebody gave up."""
TOLD = frozenset(
    {
        Kind.UNANSWERED,
        Kind.REFUSED,
        Kind.SILENT,
        Kind.RETRANSMITTED,
        Kind.CUT,
        Kind.WINDOW_SHUT,
        Kind.SHUT,
        Kind.NOT_CLOSED,
        Kind.NOT_SAID,
        Kind.TAKES_FEWER,
        Kind.CHANNELS_SHUT,
        Kind.TAKES_NONE,
        Kind.DIED,
        Kind.TAKES_NOTHING,
        Kind.KNOWS_NO_TLS,
        Kind.LOAD_FAILED,
        Kind.GAVE_UP_LOADING,
        Kind.LOST_ALONE,
        Kind.SOURCE_DIED,
        Kind.NOT_BEGUN,
        Kind.MAIN_CAME_LATER,
        Kind.SILENCE,
        Kind.DIED_IN_CLEANUP,
        Kind.PAUSED,
        Kind.TLS_NOT_BEGUN,
        Kind.TLS_UNFINISHED,
        Kind.TLS_ALERT,
    }
)
"""Facts that say why, beside who closed first."""
NOTABLE = frozenset({Kind.RECOVERY, Kind.TLS_CUT, Kind.UNCLEAN_END, Kind.KEY_UPDATE})
"""Facts worth a word however it ended."""


def story(seen: Recorded) -> Iterator[Reason]:
    """What was seen, as reasons: what is notable, and where the migration did not go well how it ended and why."""
    if seen.ended not in (Ended.FAILED, Ended.HUNG, Ended.CANCELLED):
        yield from (fact for fact in seen.evidence if fact.kind in NOTABLE)
        return
    who = "" if seen.gave_up_first is None else f", given up first by the {seen.gave_up_first.value}"
    words = {**IN_WORDS, Ended.CANCELLED: "the migration was cancelled"}
    yield Reason(Kind.RECORDED, Actor.DESTINATION, because=f"{words[seen.ended]}{who}")
    first = _gave_up(seen)
    yield from (fact for fact in seen.evidence if fact.kind in TOLD | NOTABLE or fact is first)


def destination_text(destination: Destination) -> str:
    """``a qemu-10.0 destination per-section with 2 channels, compression none``."""
    if not destination.channels:
        return f"a {destination.name} destination without multifd"
    channels = f"{destination.channels} channel{'' if destination.channels == 1 else 's'}"
    return f"a {destination.name} destination {destination.mode} with {channels}, compression {destination.compression}"


def _found(fact: Reason | None, message: str, severity: Severity | None = None) -> Found:
    if fact is None:
        return Found(message, severity=severity)
    return Found(message, fact.channel, fact.offset, frame=fact.frame, severity=severity)


def _gave_up(seen: Recorded) -> Reason | None:
    """The first fact that says that somebody did, of the side that did it first."""
    side = {Side.SOURCE: Actor.SOURCE, Side.DESTINATION: Actor.DESTINATION}.get(seen.gave_up_first or Side.NETWORK)
    ends = [fact for fact in seen.evidence if fact.kind in (Kind.SHUT, Kind.CLOSED, Kind.RESET) and fact.actor is side]
    kinds = (Kind.DIED_IN_CLEANUP, Kind.SHUT, *HOW)
    said = [fact for fact in seen.evidence if fact.kind in kinds and fact.actor is side]
    said.sort(key=lambda fact: fact.kind is not Kind.DIED_IN_CLEANUP)
    return next(iter([*said, *ends]), None)


def _how(fact: Reason | None, otherwise: str) -> str:
    return otherwise if fact is None else f"{otherwise}: {fact.text}"


def _stand_still(seen: Recorded) -> Reason | None:
    kinds = (Kind.SILENCE, Kind.NOT_CLOSED, Kind.NOT_SAID)
    return next((fact for fact in seen.evidence if fact.kind in kinds), None)


def _stood_still(seen: Recorded) -> str:
    fact = _stand_still(seen)
    if fact is None:
        return "nothing moves any more, and the migration is not over"
    if fact.kind is not Kind.SILENCE:
        return fact.text
    culprits = [channel_text(stall.channel) for stall in seen.stalled if stall.by is Side.NETWORK]
    by = f" ({', '.join(culprits)}: the network)" if culprits else ""
    return f"nothing new for {fact.duration:.1f} s of {seen.seconds:.1f} s{by}"
