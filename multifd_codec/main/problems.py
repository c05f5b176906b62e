"""What can be wrong on the main channel, as far as its bytes alone show it.

The decoder attaches these to its events, in stream order; it never stops at one while the framing is still known. What
a given destination does about each is the analyzers' business.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class ProblemKind(enum.StrEnum):
    """One condition each."""

    FILE_MAGIC = "not a migration stream"
    FILE_VERSION = "unsupported stream version"
    CONFIGURATION_FORM = "configuration section malformed"
    SECTION_TYPE = "unknown section type"
    SECTION_IDSTR = "section without a name"
    SECTION_UNKNOWN = "section id was never started"
    FOOTER_MISSING = "section footer missing"
    FOOTER_ID = "section id in footer differs"
    SECTION_ID_REUSED = "section id introduced twice"
    PART_AFTER_END = "section goes on after its END"
    END_MISSING = "section without END"
    SECTION_VERSION = "section of a version that no release has"
    RAM_FLAGS = "unknown combination of RAM flags"
    XBZRLE_FORM = "XBZRLE page malformed"
    CONTINUE_WITHOUT_BLOCK = "CONTINUE without a RAM block"
    BLOCK_UNKNOWN = "unknown RAM block"
    PAGE_OUTSIDE_BLOCK = "page outside its RAM block"
    ZERO_FILL = "zero page with another fill byte"
    BLOCK_LIST_SUM = "block list does not add up to its total"
    PAGE_BEFORE_BLOCK_LIST = "page before the block list"
    BLOCK_LIST_FIELDS = "fields of the block list do not fit the capabilities"
    EOS_MISSING = "RAM section ends without EOS"
    RECORD_AFTER_EOS = "RAM record after EOS"
    COMMAND_UNKNOWN = "unknown command"
    COMMAND_LENGTH = "command with bad length"
    COMMAND_PAYLOAD = "command payload malformed"
    COMMAND_ORDER = "command in wrong postcopy state"
    SWITCHOVER_START_REPEATED = "SWITCHOVER_START twice"
    SWITCHOVER_START_ORDER = "SWITCHOVER_START not between the last PART and the first END"
    DESCRIPTION_MISSING = "other bytes where the vmdescription should be"
    DESCRIPTION_FORM = "vmdescription unusable"
    DEVICE_SIZE = "device state has another size than described"
    DEVICE_NOT_DESCRIBED = "device is not in the vmdescription"
    DEVICE_NOT_SENT = "described device was not sent, or in another order"
    COMPRESSED_LENGTH = "compressed page longer than any page can be"
    RETURN_PATH_CLOSED = "request on a return path that was not opened"
    PACKAGE_INCOMPLETE = "package is longer than what contains it"
    PACKAGE_WITHOUT_RUN = "package does not end with POSTCOPY_RUN"
    MAPPED_RAM_HEADER = "mapped-ram header malformed"
    VFIO_TAG = "unknown or misplaced VFIO tag"
    LIMIT = "more of it than the decoder keeps track of"


class Problem(NamedTuple):
    """One thing wrong with an event; on a run of records it is wrong with every record of the run."""

    kind: ProblemKind
    offset: int
    """First byte of the field, in the main stream."""
    field: str
    message: str
    """One line: what is there and what should be."""


Problems = tuple[Problem, ...]
