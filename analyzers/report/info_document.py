"""The JSON of ``multifd info``, schema ``multifd-info/1``.

``{"schema": "multifd-info/1", "migrations": [...]}``, for each migration:

* ``input``, ``channels``, ``devices``, ``facts``: as in a report of ``multifd lint`` (``multifd-report/1``);
* ``begin``, ``end``: its first and its last frame, seconds since the epoch; ``seconds`` from one to the other;
* ``connections``, in the order in which they were opened: ``name`` (``"main"``, a channel id, or the source's port for
  what became no channel), ``stated`` (the channel states that id), ``kind``, ``label`` (``source > destination``),
  ``end`` (``closed``, ``open``, ``refused``, ``unanswered``, ``silent``), ``opened``, ``first_byte``, ``last_byte``,
  ``bytes``, ``mb_per_second``;
* with ``--rounds``, else null: ``rounds`` with ``number`` (0 is the setup, null what stands behind the last SYNC and
  carries no page), ``begin``, ``seconds``, ``main_bytes``, ``channel_bytes``, ``ram_packets`` (without SYNC),
  ``normal_pages`` and ``zero_pages`` (on channels), ``main_pages`` (of either kind on main), ``mb_per_second``;
  ``downtime``: ``seconds``, ``begin`` and ``end``, each ``{frame, seconds}``, or null; ``pages``: ``sent``,
  ``distinct``, ``most`` (``block``, ``offset`` in bytes, ``times``; at most ten, all sent more than once).

But for ``begin`` and ``end`` of the migration, times are seconds from its first frame; null where they are not known.
MB are 10**6 bytes.
"""

from __future__ import annotations

import json
from typing import Any

from analyzers.report.overview import Carrier, Overview, Rounds, carriers
from captures.conduct import Moment

SCHEMA = "multifd-info/1"
SHARED_KEYS = ("input", "channels", "devices", "facts")


def render_info(overviews: list[Overview]) -> str:
    """One document, a line end behind it."""
    return json.dumps({"schema": SCHEMA, "migrations": [_migration(each) for each in overviews]}, indent=1) + "\n"


def _migration(overview: Overview) -> dict[str, Any]:
    report, span = overview.report.to_dict(), overview.migration.span
    begin = None if span is None else span.begin
    found = overview.rounds
    return {
        **{key: report[key] for key in SHARED_KEYS},
        "begin": None if span is None else round(span.begin, 6),
        "end": None if span is None else round(span.end, 6),
        "seconds": None if span is None else round(span.seconds, 6),
        "connections": [_connection(carrier, begin) for carrier in carriers(overview.migration)],
        "rounds": None if found is None else _rounds(found, begin),
        "downtime": None if found is None else _downtime(found, begin),
        "pages": None if found is None else _pages(found),
    }


def _connection(carrier: Carrier, begin: float | None) -> dict[str, Any]:
    return {
        "name": carrier.name,
        "stated": carrier.stated,
        "kind": carrier.kind.value,
        "label": carrier.label,
        "end": carrier.end,
        "opened": _since(carrier.opened, begin),
        "first_byte": _since(carrier.first, begin),
        "last_byte": _since(carrier.last, begin),
        "bytes": carrier.bytes,
        "mb_per_second": _rounded(carrier.rate, 3),
    }


def _rounds(found: Rounds, begin: float | None) -> list[dict[str, Any]]:
    return [
        {
            "number": one.number,
            "begin": _since(one.begin, begin),
            "seconds": _rounded(one.seconds, 6),
            "main_bytes": one.main_bytes,
            "channel_bytes": one.channel_bytes,
            "ram_packets": one.ram_packets,
            "normal_pages": one.normal_pages,
            "zero_pages": one.zero_pages,
            "main_pages": one.main_pages,
            "mb_per_second": _rounded(one.rate, 3),
        }
        for one in found.rounds
    ]


def _downtime(found: Rounds, begin: float | None) -> dict[str, Any] | None:
    down = found.downtime
    if down is None:
        return None
    return {
        "seconds": round(down.seconds, 6),
        "begin": _moment(down.since, begin),
        "end": _moment(down.until, begin),
    }


def _moment(moment: Moment, begin: float | None) -> dict[str, Any]:
    return {"frame": moment.frame, "seconds": _since(moment.seconds, begin)}


def _pages(found: Rounds) -> dict[str, Any]:
    pages = found.pages
    return {"sent": pages.total, "distinct": pages.distinct, "most": [page._asdict() for page in pages.most]}


def _since(time: float | None, begin: float | None) -> float | None:
    return None if time is None or begin is None else round(time - begin, 6)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
