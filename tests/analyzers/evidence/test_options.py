"""What the streams do not say of their destination can be given."""

from __future__ import annotations

from analyzers import Outcome, lint
from tests.conftest import SAMPLES

ADVISED = SAMPLES / "evidence" / "kubevirt17106-multifd-postcopy-allowed-healthy-q11.1.pcap.zst"


def test_postcopy_must_agree() -> None:
    """qemu_loadvm, migration/savevm.c: an ADVISE with page sizes fails where postcopy-ram is off."""
    (report,) = lint(ADVISED)
    assert report.possible_outcomes == (Outcome.COMPLETES,)
    (report,) = lint(ADVISED, postcopy=False)
    assert report.possible_outcomes == (Outcome.FAILS,)
    assert {"MFD515", "MFD701"} <= {finding.rule for finding in report.findings}
    assert lint(ADVISED, postcopy=True)[0].possible_outcomes == (Outcome.COMPLETES,)
