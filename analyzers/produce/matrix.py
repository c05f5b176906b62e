"""Sync policies against destinations: what each could have done to each, and what installed QEMUs really do.

Answers the question of the founding discussion: may the final SYNC be deferred, even without device state, with older
destinations in mind?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from analyzers.findings import Kind, Outcome, Report
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import recording_of
from captures.model import ProgressCallback
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.releases import Mode
from multifd_codec.dialect.sync_policy import POLICIES, FinalSync, SyncPolicy
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.pci import vfio_name
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round, memory
from multifd_codec.sender import draft
from multifd_codec.sender.devices import state

if TYPE_CHECKING:
    from captures.qemu import DestinationOptions, Expected, Qemu

SENDER = "qemu-10.0"
"""The policies are answers for the release in which device state came."""
CHANNELS = 2
PAGE = 4096
RAM_PAGES = 16
DEVICE_SLOT = 5
DEVICE = Device(vfio_name(DEVICE_SLOT), 5000, 1000)
RUNS = 2
"""Times a cell is run on a real destination."""


COLUMNS = (
    Destination("qemu-7.2", Mode.PER_SECTION, CHANNELS),
    Destination("qemu-8.1", Mode.PER_ROUND, CHANNELS),
    Destination("qemu-9.0", Mode.PER_ROUND, CHANNELS),
    Destination("qemu-9.2", Mode.PER_ROUND, CHANNELS),
    Destination("qemu-10.0", Mode.PER_ROUND, CHANNELS),
    Destination("qemu-10.0", Mode.PER_SECTION, CHANNELS),
    Destination("qemu-11.1", Mode.PER_ROUND, CHANNELS),
)
"""Sources have the mode of their destination, as machine types have it."""


class Cell(NamedTuple):
    """One policy, one destination, with or without device state."""

    policy: SyncPolicy
    destination: Destination
    device_state: bool
    outcomes: tuple[Outcome, ...]
    why: str
    observed: tuple[str, ...] = ()
    """What real destinations did, in the runs made."""

    @property
    def agrees(self) -> bool | None:
        """Whether what was seen is foreseen; None when nothing was run."""
        return set(self.observed) <= {str(outcome) for outcome in self.outcomes} if self.observed else None

    def as_json(self) -> dict[str, object]:
        result: dict[str, object] = {
            "policy": self.policy.name,
            "destination": self.destination.name,
            "mode": str(self.destination.mode),
            "device_state": self.device_state,
            "possible_outcomes": [str(outcome) for outcome in self.outcomes],
            "why": self.why,
        }
        if self.observed:
            result |= {"observed": sorted(set(self.observed)), "agrees": self.agrees}
        return result


def plan_of_cell(policy: SyncPolicy, destination: Destination, *, device_state: bool) -> MigrationPlan:
    """A small migration of that policy, as a source would send it to that destination."""
    content = Pages("ram", 0, RAM_PAGES, Pattern(1, 0.3))
    return MigrationPlan(
        blocks=(Block("ram", RAM_PAGES * PAGE),),
        rounds=(Round((content,)), Round((Pages("ram", 2, 4, Pattern(2)), Pages("ram", 9, 2, Zero())))),
        final=(Round((Pages("ram", 5, 3, Pattern(3)),)),),
        devices=(DEVICE,) if device_state else (),
        dialect=SENDER,
        policy=policy,
        mode=destination.mode,
        machine=PCI_MACHINE if device_state else "none",
        channels=CHANNELS,
        # What a machine type of the destination's release makes of the source.
        zero_page_detection="multifd" if destination.habits.zero_pages else "legacy",
        switchover_start=device_state or destination.habits.device_state,
    )


def cells(
    policies: Iterable[SyncPolicy] = tuple(POLICIES.values()), columns: Sequence[Destination] = COLUMNS
) -> list[Cell]:
    """The whole matrix, as the receiver model has it."""
    return [
        _judged(policy, destination, device_state)
        for policy in policies
        for device_state in (False, True)
        for destination in columns
    ]


def _judged(policy: SyncPolicy, destination: Destination, device_state: bool) -> Cell:
    plan = plan_of_cell(policy, destination, device_state=device_state)
    options = LintOptions(profile=destination.profile, mode=destination.mode, channels=CHANNELS)
    (report,) = lint_recording(recording_of(draft(plan)), options)
    why = _why(report, policy.final_sync(destination.mode, device_state=device_state), destination.mode)
    return Cell(policy, destination, device_state, report.possible_outcomes, why)


def _why(report: Report, final_sync: FinalSync, mode: Mode) -> str:
    """One line."""
    rules = {finding.rule for finding in report.findings}
    failing = [reason.because for reason in report.reasons if reason.kind is Kind.MAIN_FAILS]
    if Outcome.FAILS in report.possible_outcomes and failing:
        return f"main fails: {failing[0]}"
    if "MFD309" in rules:
        return "device state stands behind the final SYNC, which no rendezvous record releases"
    if Outcome.HANGS in report.possible_outcomes:
        return "main waits at the last EOS for SYNCs that are never sent"
    if "MFD310" in rules:
        return "nothing releases the final SYNC, but nothing stands behind it: channels stay parked until the end"
    if final_sync is FinalSync.BEHIND_ITERABLE and mode is Mode.PER_SECTION:
        return "main waits at the last EOS until the SYNCs arrive, behind all iterable devices"
    return "every SYNC is released by its rendezvous record"


def verify(matrix: Sequence[Cell], qemus: Sequence[Qemu], progress: ProgressCallback | None = None) -> Iterator[Cell]:
    """The same with what the QEMUs of a cell's release did. Raises InputError when one cannot be run."""
    from captures.qemu import feed_of_migration, replay  # noqa: PLC0415 - an extra

    of_version = {qemu.version: qemu for qemu in qemus}
    for count, cell in enumerate(matrix, 1):
        qemu = of_version.get(cell.destination.release.version)
        if qemu is None:
            yield cell
            continue
        plan = plan_of_cell(cell.policy, cell.destination, device_state=cell.device_state)
        options, expected = _asked(cell, plan)
        (migration,) = recording_of(draft(plan)).migrations
        seen = [replay(qemu, feed_of_migration(migration), options, expected=expected) for _ in range(RUNS)]
        if progress is not None:
            progress("running QEMU", count, len(matrix))
        yield cell._replace(observed=tuple(one.outcome for one in seen))


def _asked(cell: Cell, plan: MigrationPlan) -> tuple[DestinationOptions, Expected]:
    """A destination for the plan of a cell, with its device where there can be one, and what it shall have loaded."""
    from captures.qemu import DestinationOptions, Expected, VfioDevice  # noqa: PLC0415

    devices = plan.devices if cell.destination.habits.device_state else ()
    options = DestinationOptions(
        ram_size=RAM_PAGES * PAGE,
        ram_block="ram",
        machine=plan.machine,
        channels=CHANNELS,
        mode=cell.destination.mode,
        devices=tuple(VfioDevice(slot=DEVICE_SLOT) for _ in devices),
    )
    return options, Expected(bytes(memory(plan)["ram"]), devices=tuple(map(state, devices)))
