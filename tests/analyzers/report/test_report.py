"""Reports: the JSON contract to the key, text that is safe to print, SARIF and JUnit that hold whatever is in them."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from analyzers.findings import (
    Actor,
    ChannelSummary,
    DeviceSummary,
    Finding,
    InputInfo,
    Kind,
    MainSummary,
    Outcome,
    Party,
    ProfileChoice,
    Reason,
    Report,
    Severity,
    Share,
    Step,
    StreamFacts,
)
from analyzers.findings.recorded import Ended, Recorded, Side, Stall
from analyzers.findings.report import Elsewhere
from analyzers.report import FORMATS, render
from analyzers.report.sarif import path_uri
from analyzers.report.terminal import print_reports
from analyzers.rulebook.registry import FAMILIES, RULES
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode

PACKET_NUM = Finding("MFD228", Severity.WARNING, "packet_num 4 is missing", 1, 99, 1344, None, "packet_num")
SYNC_COUNT = Finding("MFD301", Severity.ERROR, "2 SYNC, 3 FLUSH", 0, 4096, 1344, 17, "flags", 4012)
REPORT = Report(
    input=InputInfo("run/a.pcap", "pcap", 267902, 312, 1),
    profile=ProfileChoice(Destination("qemu-10.0"), True, ("SWITCHOVER_START on main", "FLUSH on main")),
    possible_outcomes=(Outcome.FAILS, Outcome.HANGS),
    main=MainSummary(1234, 3, True, 1234),
    channels=(
        ChannelSummary(0, 123456, 70, 3, 60, 7, 47, 18, True, "10.0.0.1:1 > 10.0.0.2:4444"),
        ChannelSummary(1, 5, 0, 0, 0, 0, 0, 0, False, "10.0.0.1:2 > 10.0.0.2:4444", stated=False),
    ),
    devices=(DeviceSummary("0000:00:05.0/vfio", 0, 5, 200000, False),),
    findings=(PACKET_NUM, SYNC_COUNT),
    reasons=(
        Reason(
            Kind.MAIN_WAITS_FOR_TOKENS,
            Actor.MAIN,
            "main",
            1200,
            300,
            waits_for=(Party(Actor.CHANNEL, 1),),
            rendezvous=Share(3, 3),
            record="FLUSH",
            tokens=Share(1, 2),
            monitor_alive=False,
        ),
    ),
    witness=(Step(Actor.CHANNEL, "SYNC", 0, 64), Step(Actor.MAIN, "FLUSH", "main")),
    monitor_alive=False,
    facts=StreamFacts(machine="none"),
    recorded=Recorded(
        Ended.HUNG,
        Side.SOURCE,
        seconds=18.0,
        silence=15.1,
        stalled=(Stall(1, Side.NETWORK, 1.643, 2103, 4096, 1000),),
        evidence=(Reason(Kind.SILENCE, Actor.CONNECTION, frame=2103, seconds=2.9, duration=15.1),),
    ),
    explained_by=(Destination("qemu-10.0", Mode.PER_SECTION),),
    elsewhere=(Elsewhere("qemu-7.2", Mode.PER_SECTION, (Outcome.FAILS, Outcome.HANGS), "main fails"),),
)

WAITS = (
    "main waits in its rendezvous 3 of 3 (FLUSH at offset 1200 (frame 300)): 1 of 2 tokens are there, "
    "the monitor is dead"
)
WITNESSED = ["channel 0: SYNC at offset 64", "main: FLUSH"]

TEXT = """\
run/a.pcap: pcap, 267,902 bytes, 312 frames, 1 gap
  machine: none

channel                          bytes  rendezvous  packets  SYNC  RAM  device state  normal pages  zero pages  complete
main                             1,234           3                                                                   yes
0                              123,456                   70     3   60             7            47          18       yes
1? 10.0.0.1:2 > 10.0.0.2:4444        5                    0     0    0             0             0           0        no

device             instance  packets    bytes  complete
0000:00:05.0/vfio         0        5  200,000        no

seen: hung, given up first by the source; nothing new for 15.1 s of 18.0 s
outcome: hangs (monitor dead); possible: fails, hangs; judged as qemu-10.0 per-round, 2 channels, page size 4096
  inferred from SWITCHOVER_START on main; FLUSH on main

{waits}

channel 0 @4096 (frame 17) MFD301 error field flags: 2 SYNC, 3 FLUSH (and 4,012 more)
channel 1 @99 MFD228 warning field packet_num: packet_num 4 is missing
4,013 errors, 1 warning
""".replace("{waits}", WAITS)

WITNESS = """
witness, a schedule that ends in hangs:
  1. channel 0: SYNC at offset 64
  2. main: FLUSH
"""

# Key for key what the design document prescribes, and the additive keys.
DOCUMENT: dict[str, Any] = {
    "schema": "multifd-report/1",
    "reports": [
        {
            "input": {"path": "run/a.pcap", "kind": "pcap", "bytes": 267902, "frames": 312, "gaps": 1},
            "profile": {
                "name": "qemu-10.0",
                "mode": "per-round",
                "channels": 2,
                "page_size": 4096,
                "inferred": True,
                "evidence": ["SWITCHOVER_START on main", "FLUSH on main"],
            },
            "outcome": "hangs",
            "possible_outcomes": ["fails", "hangs"],
            "monitor_alive": False,
            "channels": [
                {"id": "main", "bytes": 1234, "rendezvous": 3, "complete": True, "understood": 1234},
                {
                    "id": 0,
                    "bytes": 123456,
                    "packets": 70,
                    "sync": 3,
                    "ram": 60,
                    "device_state": 7,
                    "normal_pages": 47,
                    "zero_pages": 18,
                    "complete": True,
                },
                {
                    "id": 1,
                    "bytes": 5,
                    "packets": 0,
                    "sync": 0,
                    "ram": 0,
                    "device_state": 0,
                    "normal_pages": 0,
                    "zero_pages": 0,
                    "complete": False,
                },
            ],
            "devices": [
                {"idstr": "0000:00:05.0/vfio", "instance_id": 0, "packets": 5, "bytes": 200000, "complete": False}
            ],
            "findings": [
                {
                    "rule": "MFD228",
                    "severity": "warning",
                    "channel": 1,
                    "offset": 99,
                    "length": 1344,
                    "frame": None,
                    "field": "packet_num",
                    "message": "packet_num 4 is missing",
                    "repeats": 0,
                },
                {
                    "rule": "MFD301",
                    "severity": "error",
                    "channel": 0,
                    "offset": 4096,
                    "length": 1344,
                    "frame": 17,
                    "field": "flags",
                    "message": "2 SYNC, 3 FLUSH",
                    "repeats": 4012,
                },
            ],
            "explanation": [WAITS],
            "reasons": [
                {
                    "kind": "main-waits-for-tokens",
                    "actor": "main",
                    "channel": "main",
                    "offset": 1200,
                    "frame": 300,
                    "waits_for": [{"actor": "channel", "channel": 1, "device": None}],
                    "rendezvous": {"number": 3, "of": 3},
                    "record": "FLUSH",
                    "tokens": {"number": 1, "of": 2},
                    "monitor_alive": False,
                    "text": WAITS,
                }
            ],
            "witness": WITNESSED,
            "schedule": [
                {"actor": "channel", "channel": 0, "offset": 64, "frame": None, "does": "SYNC", "text": WITNESSED[0]},
                {
                    "actor": "main",
                    "channel": "main",
                    "offset": None,
                    "frame": None,
                    "does": "FLUSH",
                    "text": WITNESSED[1],
                },
            ],
            "facts": {"machine": "none"},
            "connections": [],
            "recorded": {
                "ended": "hung",
                "gave_up_first": "source",
                "seconds": 18.0,
                "silence": 15.1,
                "stalled": [
                    {
                        "channel": 1,
                        "by": "network",
                        "seconds": 1.643,
                        "frame": 2103,
                        "offset": 4096,
                        "unacknowledged": 1000,
                    }
                ],
                "evidence": [
                    {
                        "kind": "silence",
                        "channel": None,
                        "frame": 2103,
                        "seconds": 2.9,
                        "actor": "connection",
                        "duration": 15.1,
                        "text": "nothing new from here on, for 15.1 s",
                    }
                ],
            },
            "explained_by": [{"profile": "qemu-10.0", "mode": "per-section", "channels": 2, "compression": "none"}],
            "elsewhere": [
                {
                    "profile": "qemu-7.2",
                    "mode": "per-section",
                    "possible_outcomes": ["fails", "hangs"],
                    "why": "main fails",
                }
            ],
        }
    ],
}


def test_json_is_the_contract() -> None:
    assert json.loads(render([REPORT], "json")) == DOCUMENT
    lines = render([REPORT, REPORT], "jsonl").splitlines()
    assert [json.loads(text) for text in lines] == [{"schema": DOCUMENT["schema"], **DOCUMENT["reports"][0]}] * 2
    unjudged = json.loads(render([replace(REPORT, profile=None, main=None, channels=())], "json"))["reports"][0]
    assert unjudged["profile"] is None and unjudged["channels"] == []


def test_text_is_stable_and_the_terminal_says_the_same() -> None:
    assert render([REPORT], "text") == TEXT
    assert render([REPORT], "text", witness=True) == TEXT + WITNESS
    screen = io.StringIO()
    print_reports([REPORT], Console(file=screen, force_terminal=True, width=400), witness=True)
    assert "\x1b[" in screen.getvalue()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    # Two-word headings stand on two lines there: compare words, not lines.
    assert sorted(shown.split()) == sorted((TEXT + WITNESS).split())


WORDS = st.text(st.characters(exclude_categories=()), max_size=12)
COUNTS = st.integers(0, 2**63)
FINDINGS = st.builds(
    Finding,
    rule=st.sampled_from([*RULES, "MFD199"]),
    severity=st.sampled_from(Severity),
    message=WORDS,
    channel=st.one_of(st.none(), st.just("main"), st.integers(0, 255)),
    offset=st.one_of(st.none(), COUNTS),
    length=st.one_of(st.none(), COUNTS),
    frame=st.one_of(st.none(), COUNTS),
    field=st.one_of(st.none(), st.just("flags")),
    repeats=COUNTS,
)
REASONS = st.builds(Reason, st.just(Kind.CHANNEL_REFUSED), st.just(Actor.DESTINATION), because=WORDS)
REPORTS = st.builds(
    Report,
    input=st.builds(InputInfo, path=WORDS, kind=st.just("pcap"), bytes=COUNTS, frames=COUNTS, gaps=COUNTS),
    profile=st.one_of(st.none(), st.just(REPORT.profile)),
    possible_outcomes=st.lists(st.sampled_from(Outcome), min_size=1, unique=True).map(tuple),
    main=st.one_of(st.none(), st.just(REPORT.main)),
    channels=st.just(REPORT.channels),
    devices=st.lists(st.builds(DeviceSummary, WORDS, COUNTS, COUNTS, COUNTS, st.booleans()), max_size=2).map(tuple),
    findings=st.lists(FINDINGS, max_size=5).map(tuple),
    reasons=st.lists(st.builds(Reason, st.just(Kind.CHANNEL_REFUSED), st.just(Actor.DESTINATION), because=WORDS)).map(
        tuple
    ),
    witness=st.lists(st.builds(Step, st.just(Actor.MAIN), WORDS, st.just("main")), max_size=2).map(tuple),
    monitor_alive=st.sampled_from([None, False, True]),
    facts=st.builds(StreamFacts, machine=WORDS, compression=WORDS),
)


@given(st.lists(REPORTS, max_size=3))
def test_every_format_holds_for_any_report(reports: list[Report]) -> None:
    texts = {name: render(reports, name, witness=True) for name in FORMATS}
    for text in texts.values():
        text.encode("utf-8")  # lone surrogates of file names would fail here
    assert texts["text"].replace("\n", "").isprintable()
    findings = [finding for report in reports for finding in report.findings]
    named = [line for line in texts["text"].splitlines() if re.search(r"MFD\d+ (error|warning|info)[: ]", line)]
    assert len(named) >= len(findings)
    assert len(json.loads(texts["json"])["reports"]) == len(texts["jsonl"].splitlines()) == len(reports)
    check_sarif(json.loads(texts["sarif"]), findings)
    check_junit(ElementTree.fromstring(texts["junit"].encode()), reports)


def check_sarif(log: dict[str, Any], findings: list[Finding]) -> None:
    """What SARIF 2.1.0 requires of the properties used here."""
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "multifd"
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in {"error", "warning", "note"}
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True and invocation["exitCode"] in {0, 1, 2, 3}
    for artifact in run["artifacts"]:
        assert re.fullmatch(r"[!-~]*", artifact["location"]["uri"])
        if "parentIndex" in artifact:
            assert "parentIndex" not in run["artifacts"][artifact["parentIndex"]]
    assert len(run["results"]) == len(findings)
    for result, finding in zip(run["results"], findings, strict=True):
        assert result["message"]["text"] is not None and result["level"] in {"error", "warning", "note"}
        if "ruleIndex" in result:
            assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule
        for location in (*result["locations"], *result["relatedLocations"]):
            place = location["physicalLocation"]["artifactLocation"]
            assert run["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
        (location,) = result["locations"]
        region = location["physicalLocation"].get("region")
        if finding.channel is None or finding.offset is None:
            assert region is None
        else:
            assert region["byteOffset"] == finding.offset and region.get("byteLength") == finding.length
        assert ("logicalLocations" in location) == (finding.channel is not None)


def check_junit(root: ElementTree.Element, reports: list[Report]) -> None:
    suites = root.findall("testsuite")
    assert root.tag == "testsuites" and len(suites) == len(reports)
    for suite, report in zip(suites, reports, strict=True):
        cases = suite.findall("testcase")
        assert all(case.get("name") and case.get("classname") for case in cases)
        assert suite.get("tests") == str(len(cases))
        failures = suite.findall("testcase/failure")
        errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
        assert suite.get("failures") == str(len(failures)) == str(len(errors))
        passed_families = {case.get("name") for case in cases} & set(FAMILIES.values())
        assert passed_families == {
            name for code, name in FAMILIES.items() if not any(f.rule[:4] == code for f in errors)
        }
        assert len(suite.findall("testcase/skipped")) == (Outcome.UNDECIDED in report.possible_outcomes)


def test_paths_become_uri_references() -> None:
    assert path_uri("run/a b.pcap") == "run/a%20b.pcap"
    assert path_uri("/tmp/\udcff.pcap") == "file:///tmp/%FF.pcap"
    assert path_uri("c:x/a.pcap") == "c%3Ax/a.pcap"
