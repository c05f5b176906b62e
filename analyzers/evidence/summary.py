"""The connections of a migration, as a report lists them."""

from __future__ import annotations

from analyzers.evidence.timeline import timeline
from analyzers.findings.report import ConnectionSummary
from captures.model import Migration


def connection_summaries(migration: Migration) -> tuple[ConnectionSummary, ...]:
    """In the order in which they were opened; none without packets."""
    line = timeline(migration)
    if line is None:
        return ()
    return tuple(
        ConnectionSummary(
            channel=named.name,
            kind=named.connection.kind.value,
            source=str(named.connection.source),
            destination=str(named.connection.destination),
            frame=named.connection.first_frame,
            answered=named.connection.answered,
            refused=named.connection.refused is not None,
            sent=named.connection.to_destination.sent,
            acknowledged=named.connection.to_destination.acknowledged,
            received=named.connection.to_source.sent,
        )
        for named in line.connections
    )
