"""Edits by hand: what is asked for is done, and nothing else; what cannot be is said in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzers.cli.app import multifd
from analyzers.produce.edit import Action, HandEdit, edit_by_hand
from multifd_codec.errors import InputError
from tests.conftest import SAMPLES
from tests.helpers.healthy import healthy

SET, DROP, REPEAT, MOVE = Action.SET, Action.DROP, Action.REPEAT, Action.MOVE


def test_edits_are_at_the_places_of_the_stream_as_it_came() -> None:
    before, after = healthy("10.0 devices"), healthy("10.0 devices")
    state = before.state(0).encoded()
    done = edit_by_hand(
        after,
        [
            HandEdit(SET, "channel 1 sync -1 flags=0x3"),
            HandEdit(SET, "channel 0 packet 1 ramblock=other"),
            HandEdit(SET, "main @0 magic=0x11"),
            HandEdit(REPEAT, "channel 2 record 0"),
            HandEdit(MOVE, "channel 0 device-state 0 before channel 0 sync 0"),
            HandEdit(DROP, "channel 0 sync 0"),
            HandEdit(DROP, "main command -1"),
        ],
    )
    assert len(done) == 7 and done[0].endswith("flags 1 becomes 3") and done[-1].startswith("main record")
    assert after.sync(1).event.flags == 3
    assert after.main[0].event.magic == 0x11 and len(after.main) == len(before.main) - 1
    assert after.channels[2][0].encoded() == after.channels[2][1].encoded()
    # The SYNC that the buffer was moved in front of is gone; the first packet with pages has the other name.
    assert after.channels[0][1].encoded() == state
    assert after.channels[0][2].event.block == "other"
    assert len(after.channels[0]) == len(before.channels[0]) - 1


@pytest.mark.parametrize(
    ("action", "text", "words"),
    [
        (SET, "packet 3 flags=1", "begins with no place"),
        (SET, "channel 9 packet 0 flags=1", "there is no channel 9; there are 3"),
        (SET, "channel 0 packet 99 flags=1", "no number 99"),
        (SET, "channel 0 hole 0 flags=1", "there is no record called 'hole'"),
        (SET, "channel 0 packet 0 nothing=1", "there are magic, version, flags"),
        (SET, "channel 0 packet 0 flags=x", "flags takes a number"),
        (SET, "channel 0 packet 0 flags=0x100000000", "flags cannot be 0x100000000"),
        (SET, "channel 0 packet 0", "FIELD=VALUE"),
        (DROP, "channel 0 packet 0 flags=1", "is too much"),
        (DROP, "main @1", "no record of main begins at offset 1"),
        (MOVE, "main record 1 before", "say where to"),
        (MOVE, "main record 1 before main record 1", "in front of itself"),
    ],
)
def test_what_cannot_be_is_said(action: Action, text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as raised:
        edit_by_hand(healthy("10.0 devices"), [HandEdit(action, text)])
    assert "\n" not in raised.value.message


def test_the_founding_case_by_hand_and_made_small(tmp_path: Path) -> None:
    """A healthy recording, its last FLUSH left out: device state hangs behind a SYNC that nothing releases. Made small,
    it still does for the same reason."""
    recorded, edited, small = (
        SAMPLES / "vfio/xremote-10.0.2.pcap.zst",
        tmp_path / "edited.pcap",
        tmp_path / "small.pcap",
    )

    def run(*words: object) -> str:
        done = CliRunner().invoke(multifd, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.stdout

    said = run("edit", recorded, "--drop", "main flush 1", "-o", edited)
    assert said.endswith("(flush): left out\n")
    made = run("minimize", edited, "--until", "hangs", "-o", small)
    left, of = (int(word) for word in made.split(": ")[1].split(" records")[0].split(" of "))
    assert left < of
    judged = CliRunner().invoke(multifd, ["lint", str(small)])
    assert judged.exit_code == 1 and "outcome: hangs" in judged.stdout
    other = tmp_path / "other.pcap"
    nothing = CliRunner().invoke(multifd, ["minimize", str(recorded), "--until", "crashes", "-o", str(other)])
    assert nothing.exit_code == 2 and "does not do that" in nothing.output and not other.exists()
