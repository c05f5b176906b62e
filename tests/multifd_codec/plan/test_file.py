"""Plan files: what is written is read again, and what is wrong is said in one line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifd_codec.dialect.sync_policy import POLICIES
from multifd_codec.errors import InputError
from multifd_codec.plan.file import parse_size, parse_uuid, plan_from_json, plan_to_json
from multifd_codec.plan.page_content import Given, Pattern
from multifd_codec.plan.plan import Block, MigrationPlan, Pages, Round, Section, memory
from multifd_codec.sender import draft
from multifd_codec.strategies import plans

PLAN: dict[str, Any] = {
    "blocks": [{"name": "ram", "size": "64K"}],
    "rounds": [{"pages": [{"block": "ram", "first": 0, "count": 16, "content": {"pattern": 7}}]}],
}
PAGES = PLAN["rounds"][0]["pages"][0]


@given(plans(policies=[None, *POLICIES]))
def test_round_trip(plan: MigrationPlan) -> None:
    text = plan_to_json(plan)
    assert plan_from_json(text) == plan
    assert plan_to_json(plan_from_json(text)) == text


def test_everything_a_plan_can_say_survives() -> None:
    plan = MigrationPlan(
        (Block("ram", 8192),),
        (Round((Pages("ram", 0, 1, Pattern(3, 0.25)), Pages("ram", 1, 1, Given(bytes(range(256)) * 16, 1))), 2),),
        dialect="qemu-8.2",
        machine="pc-i440fx-8.0",
        switchover_start=False,
        sections=(Section(7, "timer", b"\0\1", 2, 1),),
        description={"page_size": 4096, "devices": []},
        uuid=UUID(bytes=bytes(range(16))),
        merge_sync=0.5,
        return_path=True,
        channel_order=(0, 1, 1),
        seed=-5,
    )
    assert plan_from_json(plan_to_json(plan)) == plan
    assert plan_from_json(plan_to_json(replace(plan, sections=()))).sections == ()


def test_given_pages_are_written_as_far_as_they_are_sent() -> None:
    """A plan of a recording has one buffer for a run of pages, of which a section may send a part."""
    content = Given(b"".join(bytes([number]) * 4096 for number in range(8)), first=4)
    plan = MigrationPlan((Block("ram", 65536),), (Round((Pages("ram", 6, 2, content),)),))
    again = plan_from_json(plan_to_json(plan))
    assert memory(again) == memory(plan)
    assert memory(plan)["ram"][6 * 4096 :: 4096] == bytes([2, 3, *[0] * 8])


def test_what_is_not_said_is_the_default() -> None:
    plan = plan_from_json(json.dumps(PLAN))
    assert plan == MigrationPlan((Block("ram", 65536),), (Round((Pages("ram", 0, 16, Pattern(7)),)),))
    assert plan_from_json(json.dumps({"schema": "multifd-plan/1", **PLAN})) == plan


@pytest.mark.parametrize(
    ("text", "size"), [("64M", 64 << 20), ("512 KiB", 512 << 10), ("7", 7), ("1gb", 1 << 30), (9, 9)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5M", "M", "1Q", "٣", "9" * 99, True, None, -1])
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(InputError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "00", "6f9619ff-8b86-d011-b42d-00c04fc964fg", "é" * 32])
def test_what_is_no_uuid(text: str) -> None:
    with pytest.raises(InputError, match="is not a uuid"):
        parse_uuid(text)


def with_pages(**changes: Any) -> dict[str, Any]:
    return {"rounds": [{"pages": [PAGES | changes]}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "multifd-plan/2"}, "multifd-plan/1"),
        ({"blocks": None}, "blocks is null"),
        ({"blocks": [1]}, "blocks[0]: not a JSON object"),
        ({"blocks": [{"name": "ram"}]}, "blocks[0]: size is missing"),
        ({"blocks": [{"name": "ram", "size": "64K", "sise": 1}]}, "blocks[0]: there is no key 'sise'"),
        ({"blocks": [{"name": "ram", "size": "lots"}]}, "is not a size"),
        ({"blocks": [{"name": "\ud800", "size": "64K"}]}, "RAM block"),
        ({"chanels": 2}, "there is no key 'chanels'"),
        ({"channels": True}, "channels"),
        ({"channels": 1 << 70}, "1 to 255"),
        ({"channels": "two"}, "channels"),
        ({"mode": "sometimes"}, "neither per-section nor per-round"),
        ({"mode": []}, "neither per-section nor per-round"),
        ({"dialect": "qemu-1.0"}, "not supported"),
        ({"uuid": 5}, "is not a uuid"),
        ({"description": []}, "description"),
        ({"description": {"devices": 1}, "sections": []}, "no vmdescription"),
        ({"sections": [{"section_id": 1, "idstr": "timer", "body": "xyz"}]}, "not hex digits"),
        ({"sections": [{"section_id": 1 << 40, "idstr": "timer", "body": ""}]}, "section"),
        ({"sections": [{"section_id": 1, "idstr": "x" * 300, "body": ""}]}, "1 to 255 bytes"),
        ({"channel_order": [0, "1"]}, "channel_order[1]"),
        ({"merge_sync": 2, "dialect": "qemu-7.2"}, "share from 0 to 1"),
        ({"merge_sync": float("nan"), "dialect": "qemu-7.2"}, "share from 0 to 1"),
        ({"machine": "x" * 300}, "machine"),
        ({"devices": [{"idstr": "v", "size": 1, "instance_id": -1}]}, "instance"),
        ({"devices": [{"idstr": "v", "size": 1, "instance_id": 1 << 32}]}, "instance"),
        ({"devices": [{"idstr": "v", "size": "9", "config": "0g"}]}, "config is not hex digits"),
        (with_pages(content="one"), "there are zero, pattern and hex"),
        (with_pages(content={}), "pattern is missing"),
        (with_pages(content={"hex": "0g"}), "not hex digits"),
        (with_pages(content={"hex": "00ff"}), "2 bytes"),
        (with_pages(content={"pattern": 1, "zero_share": float("nan")}), "zero_share"),
        (with_pages(content={"pattern": 1, "seed": 2}), "there is no key 'seed'"),
        (with_pages(first="0"), "first"),
        (with_pages(first=-1), "pages -1 to"),
        (with_pages(count=17), "ram has 16"),
        ({"rounds": []}, "needs a round"),
        ({"rounds": [{"pages": [], "sections": 1 << 60}]}, "sections"),
        ({"blocks": [{"name": "ram", "size": "999999999T"}]}, "RAM block ram"),
        ({"page_size": 0}, "no target page size"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as raised:
        plan_from_json(json.dumps(PLAN | changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", b"\xff\xfe", "1" * 5000])
def test_what_is_no_plan(text: str | bytes) -> None:
    with pytest.raises(InputError, match="the plan") as raised:
        plan_from_json(text)
    assert "\n" not in str(raised.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ram", "zero", "4K"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_any_value_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    """A plan file with one value replaced, or a key taken away, is a plan or an InputError, never another error."""
    plan = json.loads(plan_to_json(data.draw(plans(max_pages=4))))
    place: Any = plan
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        if data.draw(st.booleans()):
            place[key] = data.draw(JSON)
        else:
            del place[key]
        break
    try:
        read = plan_from_json(json.dumps(plan))
    except InputError as error:
        assert "\n" not in str(error)
        return
    if sum(device.size for device in read.devices) < 10_000 and max(one.sections for one in read.rounds) < 100:
        assert draft(read).encoded("main")
