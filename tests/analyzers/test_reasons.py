"""Reasons are data: every kind has a sentence, and nothing of ours reads one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from analyzers.findings import Actor, ChannelEnd, Kind, Location, Party, Reason, Share, Stuck, StuckState
from analyzers.findings.reason import OR_MISSING
from multifd_codec.device_key import DeviceKey

ROOT = Path(__file__).parents[2]
DEVICE = DeviceKey("0000:00:05.0/vfio", 1)
FULL = Reason(
    Kind.PARKED,
    Actor.CHANNEL,
    channel=3,
    offset=4096,
    frame=17,
    also=(Location(5, 64),),
    waits_for=(Party(Actor.MAIN),),
    rendezvous=Share(3, 2),
    record="EOS",
    tokens=Share(1, 4),
    syncs=Share(2, 3),
    ended=ChannelEnd.CRASH,
    stuck=Stuck((StuckState(DEVICE, 1, 66800),), 2, 1),
    devices=(DEVICE,),
    buffers=(7, 9),
    more_buffers=3,
    packets=1,
    block="pc.ram",
    page=16,
    pages=12,
    block_offset=65536,
    connection="[2001:db8::1]:4444",
    monitor_alive=False,
    because="a {brace} in the words",
    rule="MFD301",
    seconds=16.4,
    duration=1.643,
    bytes=1444162,
    repeats=3,
    perhaps=True,
)
AT = "offset 4096 (frame 17)"
SENTENCES = {
    Kind.PARKED: f"channel 3 is parked since its SYNC at {AT}: main carries 2 rendezvous records, none releases it; "
    "never read behind it: 1 device-state packet of 0000:00:05.0/vfio (66,800 bytes), 2 RAM packets, 1 SYNC",
    Kind.TOO_FEW_SYNCS: "main waits for channel 3, which gives 2 of 3 SYNCs and then crashes the process at "
    f"{AT}: a {{brace}} in the words",
    Kind.WAITS_FOR_RELEASE: "channels 3, 5 have given theirs and wait for the release",
    Kind.WAITS_FOR_UNREAD_BUFFER: f"the loader waits for buffer 7, 9 and 3 more, never read at {AT} of channel 3",
    Kind.BUFFER_TWICE: f"buffer 7, 9 and 3 more of 0000:00:05.0/vfio stands at {AT} of channel 3 and at "
    "offset 64 of channel 5: it is refused the second time",
    Kind.SHORT_CONNECTION: "[2001:db8::1]:4444: a {brace} in the words",
    Kind.PAGES_NEVER_SENT: "never sent: 12 pages of 'pc.ram', the first at 0x10000",
}
"""What the recordings and truth cases do not say, or only in part; their sentences are compared as they are."""


def test_the_reason_above_has_every_field() -> None:
    assert [name for name, default in Reason._field_defaults.items() if getattr(FULL, name) == default] == []


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_sentence_of_its_fields(kind: Kind) -> None:
    text = FULL._replace(kind=kind).text.removesuffix(OR_MISSING)
    assert text == SENTENCES.get(kind, text) and "{r" not in text and "None" not in text
    assert ("brace" in text) == ("because" in kind.sentence or kind is Kind.TOO_FEW_SYNCS)


SPOKEN = {"because", "evidence", "explanation", "message", "reason", "sentence", "text", "witness"}
"""Attributes that hold sentences."""
READERS = {
    *("count", "endswith", "find", "fullmatch", "index", "match", "partition", "removeprefix", "removesuffix"),
    *("rpartition", "rsplit", "search", "split", "startswith"),
}
COMPARED = {("analyzers/produce/mutate.py", "error.message not in lacks")}
"""Each error once."""


def speaks(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr in SPOKEN for part in ast.walk(node))


def reads_a_sentence(node: ast.AST) -> bool:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            compares = any(isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq) for op in ops)
            return compares and any(map(speaks, (left, *others)))
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments):
            return name in READERS and any(map(speaks, (value, *arguments)))
    return False


def product() -> list[tuple[str, ast.AST]]:
    packages = ("multifd_codec", "captures", "analyzers")
    files = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [(str(path.relative_to(ROOT)), node) for path in files for node in ast.walk(ast.parse(path.read_text()))]


def test_nothing_of_ours_reads_a_sentence() -> None:
    """As far as names tell: no comparison and no search in what is said, and explanations are only shown."""
    assert reads_a_sentence(ast.parse('any("may fail" in r.text for r in reasons)').body[0].value.args[0].elt)  # type: ignore[attr-defined]
    nodes = product()
    reading = {(path, ast.unparse(node)) for path, node in nodes if reads_a_sentence(node)}
    assert reading == COMPARED
    shown = {path for path, node in nodes if isinstance(node, ast.Attribute) and node.attr == "explanation"}
    assert all(path.startswith(("analyzers/report/", "analyzers/findings/")) for path in shown), shown
