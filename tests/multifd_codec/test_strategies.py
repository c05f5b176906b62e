"""The strategies and edits: all values work, and what fails shrinks to something a person can read."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import find as hypothesis_find
from hypothesis import strategies as st

from analyzers.findings import Kind, Outcome
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import recording_of
from multifd_codec.channel.events import RamPacket
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft.draft import Draft
from multifd_codec.draft.edits import KINDS, Edit, EditKind, apply, apply_all, describe, random_edit
from multifd_codec.errors import ChannelName
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round, check
from multifd_codec.sender import draft
from multifd_codec.strategies import DIALECTS, EditedDraft, drafts, edited_drafts, edits, plans
from tests.conftest import ROOT

DOCS = ROOT / "docs"
SETTINGS = settings(
    phases=[Phase.generate, Phase.shrink],
    max_examples=600,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
PLAN = MigrationPlan(
    (Block("ram", 20 * 4096),),
    (Round((Pages("ram", 0, 20, Pattern(1, 0.5)),)),),
    devices=(Device("0000:00:05.0/vfio", 100, 40),),
)


def find(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool]) -> Any:
    return hypothesis_find(strategy, condition, settings=SETTINGS)


def streams(made: Draft) -> dict[ChannelName, bytes]:
    return {name: made.encoded(name) for name, _ in made.lines()}


class TestPlans:
    @given(st.data())
    def test_only_what_is_asked_for(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(DIALECTS), min_size=1, unique=True))
        plan = data.draw(
            plans(
                dialects=names,
                modes=[Mode.PER_SECTION],
                compression=["zlib"],
                page_sizes=[16384],
                max_channels=2,
                max_pages=3,
                max_rounds=1,
            )
        )
        check(plan)
        assert plan.dialect in names and plan.mode is Mode.PER_SECTION and plan.page_size == 16384
        assert plan.compression == ("none" if plan.release.version < (5, 0) else "zlib")
        assert plan.channels <= 2 and len(plan.rounds) == 1 and not (plan.devices and plan.compression == "zlib")
        assert all(block.size <= 3 * 16384 for block in plan.blocks)

    def test_a_mode_that_no_dialect_has(self) -> None:
        with pytest.raises(ValueError, match=r"none of qemu-7\.2 can send per-round"):
            find(plans(dialects=["qemu-7.2"], modes=[Mode.PER_ROUND]), bool)

    @pytest.mark.parametrize(
        ("condition", "words"),
        [
            (lambda p: True, ["qemu-10.0", "per-round"]),
            (lambda p: len(p.rounds) == 2, ["qemu-10.0"]),
            (lambda p: p.release.version < (9, 0), ["qemu-7.2", "per-section"]),
            (lambda p: p.devices, ["qemu-10.0"]),
        ],
    )
    def test_they_shrink_to_the_smallest(self, condition: Callable[[MigrationPlan], bool], words: list[str]) -> None:
        plan = find(plans(), condition)
        assert plan.channels == 1 and plan.blocks == (Block("ram", 4096),) and plan.compression == "none"
        assert plan.rounds[0] == Round((Pages("ram", 0, 1, Zero()),))
        assert plan.rounds[1:] in ((), (Round(),)) and plan.final == (Round(),)
        assert plan.devices in ((), (Device("0000:00:05.0/vfio", 0, 100, 0),))
        assert (plan.seed, plan.merge_sync, plan.return_path, plan.channel_order) == (0, 0, False, ())
        assert all(word in (plan.dialect, plan.mode) for word in words)

    def test_a_draft_of_the_smallest(self) -> None:
        smallest = find(drafts(), lambda made: any(r.event.normal_pages for r in made.rams(0)))
        assert [(r.event.sync, r.event.normal_pages) for r in smallest.rams(0)] == [(1, 0), (0, 1), (1, 0), (1, 0)]
        assert len(smallest.channels) == 1


NUMBERS = st.integers(-(1 << 70), 1 << 70)
ANY_EDIT = st.builds(
    Edit,
    st.sampled_from(KINDS),
    st.one_of(st.just("main"), NUMBERS),
    NUMBERS,
    NUMBERS,
    st.one_of(st.just("main"), NUMBERS),
    NUMBERS,
)


class TestEdits:
    @given(st.lists(ANY_EDIT, min_size=1, max_size=6))
    def test_any_numbers_are_an_edit(self, several: list[Edit]) -> None:
        """Everything can be encoded, every record is sent once, the draft given stays as it was."""
        original = draft(PLAN)
        before = streams(original)
        made = apply_all(original, several)
        assert streams(original) == before
        sent: dict[ChannelName, bytes] = dict.fromkeys(before, b"")
        for name, record in made.sent():
            sent[name] += record.encoded()
        assert {name: data for name, data in sent.items() if data} == {k: v for k, v in streams(made).items() if v}
        for edit in several:
            changed = apply(original, edit)
            assert (streams(changed) == before) == describe(original, edit).endswith("nothing to change")

    def test_what_each_kind_does(self) -> None:
        made = draft(PLAN)
        line, record = made.channels[1], made.channels[1][2]
        for edit, expected, words in (
            (Edit(EditKind.DROP, 1, 2), line[:2] + line[3:], "channel 1 record 2 (RamPacket): dropped"),
            (Edit(EditKind.MOVE, 1, 2, 0), [record, *line[:2], *line[3:]], "moved to 0"),
            (Edit(EditKind.DROP, 3, 2 + len(line)), line[:2] + line[3:], "channel 1 record 2 (RamPacket): dropped"),
        ):
            assert apply(made, edit).channels[1] == expected and words in describe(made, edit)
        doubled = apply(made, Edit(EditKind.REPEAT, 1, 2)).channels[1]
        assert [r.encoded() for r in doubled] == [r.encoded() for r in (*line[:3], record, *line[3:])]
        moved = apply(made, Edit(EditKind.TRANSFER, 1, 2, 3, "main"))
        assert moved.main == [*made.main[:3], record, *made.main[3:]] and moved.channels[1] == line[:2] + line[3:]
        flipped = apply(made, Edit(EditKind.FLIP, 1, 2, 9)).channels[1][2].encoded()
        assert flipped == bytes([record.encoded()[0], record.encoded()[1] ^ 0x40]) + record.encoded()[2:]
        cut = apply(made, Edit(EditKind.CUT, 1, 2, 70)).encoded(1)
        assert cut == made.encoded(1)[: 64 + 1344 + 70]
        assert apply(made, Edit(EditKind.CUT, 1, 2)).encoded(1) == made.encoded(1)[: 64 + 1344]

    def test_fields_get_boundary_values(self) -> None:
        """Every field of a header is reached, and only what fits on the wire is set."""
        made = draft(PLAN)
        changed: dict[str, set[object]] = {}
        for field in range(12):
            for value in range(24):
                after = apply(made, Edit(EditKind.SET, 0, 1, value, field=field)).channels[0][1].event
                assert isinstance(after, RamPacket)
                for name, old in made.channels[0][1].event._asdict().items():
                    if getattr(after, name) != old:
                        changed.setdefault(name, set()).add(getattr(after, name))
        words = {
            "magic",
            "version",
            "flags",
            "pages_alloc",
            "normal_pages",
            "next_packet_size",
            "zero_pages",
            "unused32",
        }
        assert changed.keys() == words | {"packet_num", "ramblock", "pages"}
        assert all({0, 0xFFFFFFFF} - {0} <= changed[name] for name in words)
        assert {1 << 63, (1 << 64) - 1} <= changed["packet_num"]
        assert {0, 3, 0x41, 0x81} <= changed["flags"]

    def test_random_edits_are_those_of_their_seed_and_change_something(self) -> None:
        made = draft(PLAN)
        several = [[random_edit(made, random.Random(seed)) for seed in range(300)] for _ in range(2)]
        assert several[0] == several[1] and {edit.kind for edit in several[0]} == set(KINDS)
        idle = sum(describe(made, edit).endswith("nothing to change") for edit in several[0])
        assert idle < 15
        empty = Draft([], [])
        assert apply(empty, random_edit(empty, random.Random(1))) == empty

    @given(st.data())
    def test_edits_of_a_draft_name_records_that_it_has(self, data: st.DataObject) -> None:
        made = draft(PLAN)
        edit = data.draw(edits(made))
        line = made.main if edit.channel == "main" else made.channels[edit.channel]
        assert 0 <= edit.position < len(line)


class TestEditedDrafts:
    @given(edited_drafts(plans(max_pages=8)))
    def test_they_are_judged_whatever_they_are(self, edited: EditedDraft) -> None:
        assert streams(apply_all(draft(edited.plan), edited.edits)) == streams(edited.draft)
        (report,) = lint_recording(recording_of(edited.draft), LintOptions(profile=edited.plan.dialect))
        assert report.possible_outcomes

    def test_a_migration_that_hangs_shrinks_to_one_edit_of_the_smallest(self) -> None:
        edited = find(edited_drafts(plans(dialects=["qemu-10.0"])), lambda e: judged(e) == (Outcome.HANGS,))
        assert len(edited.edits) == 1 and edited.plan.channels == 1 and edited.plan.blocks == (Block("ram", 4096),)
        assert edited.plan.rounds == (Round((Pages("ram", 0, 1, Zero()),)),) and edited.plan.final == (Round(),)
        lines = repr(edited).splitlines()
        assert len(lines) == 2 and re.search(r"\): (main|channel 0) record \d+ \(\w+\): ", lines[1]), lines

    def test_device_state_parked_behind_a_sync_is_found(self) -> None:
        """The founding case, from one edit: a rendezvous record is missing, device state stands behind its SYNC."""
        made = draft(PLAN)

        def condition(edit: Edit) -> bool:
            (report,) = lint_recording(recording_of(apply(made, edit)), LintOptions(profile="qemu-10.0"))
            parked = any(reason.kind is Kind.PARKED for reason in report.reasons)
            return report.possible_outcomes == (Outcome.HANGS,) and parked and "(Flush)" in describe(made, edit)

        edit = find(edits(made, kinds=[EditKind.DROP]), condition)
        assert describe(made, edit) == "main record 4 (Flush): dropped"


def judged(edited: EditedDraft) -> tuple[Outcome, ...]:
    plan = edited.plan
    options = LintOptions(profile=plan.dialect, mode=plan.mode, channels=plan.channels, page_size=plan.page_size)
    (report,) = lint_recording(recording_of(edited.draft), options)
    return report.possible_outcomes


def test_the_documented_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "strategies.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "test_example.py").write_text(example)
    profile = 'from hypothesis import settings\nsettings.register_profile("short", max_examples=20, deadline=None)\n'
    (tmp_path / "conftest.py").write_text(profile)
    options = ["--hypothesis-profile=short", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0 and "3 passed" in result.stdout, result.stdout


def test_without_hypothesis_the_message_names_the_extra() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import multifd_codec.strategies"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1].endswith("needs hypothesis: pip install 'multifd-codec[strategies]'")
