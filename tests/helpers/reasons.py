"""What must hold of the reasons of any report."""

from __future__ import annotations

from analyzers.findings import Actor, Kind, Location, Outcome, Reason, Report
from multifd_codec.errors import ChannelName

NEVER_STARTS = {Kind.CHANNEL_REFUSED, Kind.SECOND_MAIN_REFUSED, Kind.SHORT_CONNECTION, Kind.FOREIGN_CONNECTION}
"""The destination goes on listening, for whoever may come."""


def check_reasons(report: Report) -> None:
    """Each has an actor and a place that exists; a hang says who is waited for; sentences are the explanation."""
    sizes: dict[ChannelName, int] = {channel.id: channel.bytes for channel in report.channels}
    sizes |= {"main": report.main.bytes} if report.main is not None else {}
    recorded = report.input.frames and not report.input.gaps
    found = {finding.rule for finding in report.findings}
    for reason in report.reasons:
        assert not reason.rule or reason.rule in found, reason
        assert reason.actor in Actor
        assert isinstance(reason.channel, int) or reason.actor is not Actor.CHANNEL, reason
        assert reason.devices or reason.actor is not Actor.LOADER, reason
        for party in reason.waits_for:
            assert (party.channel is not None) == (party.actor is Actor.CHANNEL), reason
            assert (party.device is not None) == (party.actor is Actor.LOADER), reason
        assert reason.offset is None or reason.channel is not None, reason
        for place in _places(reason):
            assert place.channel in sizes, reason
            assert place.offset is None or 0 <= place.offset <= sizes[place.channel], reason
            if recorded and place.offset is not None and place.offset < sizes[place.channel]:
                assert place.frame is not None and 1 <= place.frame <= report.input.frames, reason
    if report.possible_outcomes == (Outcome.HANGS,):
        assert any(reason.waits_for or reason.kind in NEVER_STARTS for reason in report.reasons), report.reasons
    document = report.to_dict()
    assert [reason["text"] for reason in document["reasons"]] == document["explanation"] == list(report.explanation)
    assert [step["text"] for step in document["schedule"]] == document["witness"]
    assert all(document["explanation"])


def _places(reason: Reason) -> list[Location]:
    own = [] if reason.channel is None else [Location(reason.channel, reason.offset, reason.frame)]
    return [*own, *reason.also]
