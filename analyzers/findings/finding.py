"""One violation of a rule, or one remark."""

from __future__ import annotations

import enum
from typing import NamedTuple

from multifd_codec.errors import ChannelName


class Severity(enum.StrEnum):
    """How bad a finding is. Only errors make exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Finding(NamedTuple):
    """One violation or remark, located on the wire."""

    rule: str
    """Rule code, ``MFD301``."""
    severity: Severity
    message: str
    """One line, concrete: values seen, values expected."""
    channel: ChannelName | None = None
    offset: int | None = None
    """Bytes from the start of that channel's stream to the record the finding is about."""
    length: int | None = None
    """Length in bytes of that record."""
    frame: int | None = None
    """Capture frame number, from 1; None without a capture."""
    field: str | None = None
    """Wire field, as the declarations in ``multifd_codec.wire`` name it."""
    repeats: int = 0
    """How many further findings of this rule on this channel were folded into this one."""
