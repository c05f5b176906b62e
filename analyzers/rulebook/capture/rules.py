"""Quality of the recording: MFD901 to MFD911. They say what was not seen, never that a stream is wrong."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import Load, MainProblem, PacketCondition, RecordingNote
from analyzers.rulebook.rule import Rule
from captures.model import NoteKind
from multifd_codec.main.problems import ProblemKind

FAMILY = "capture quality"
UNAFFECTED = "None: the destination received what the recording lacks. The verdict is undecided where it depends on it."
READER = "not QEMU: the capture reader of this tool"

PAYLOAD_NOT_CHECKED = PacketCondition(field="payload", silent=True)
"""Said once a channel, whatever the number of packets."""

RULES = (
    Rule(
        code="MFD901",
        title="No bytes are lost between captured packets",
        severity=Severity.WARNING,
        why=(
            "The capture dropped packets: TCP sequence numbers show bytes nobody recorded. A gap inside page payload "
            "costs nothing but the pages; a gap over a packet header leaves the number of packets in it unknown."
        ),
        destination=UNAFFECTED,
        reference=READER + "; tcpdump -B or a snap length (-s 400) avoid drops",
        since="any capture",
        example="channel 0: I S D (65536 bytes missing) D S",
        conditions=(RecordingNote(NoteKind.LOST_SEGMENTS),),
    ),
    Rule(
        code="MFD902",
        title="The snap length does not cut packet headers",
        severity=Severity.WARNING,
        why=(
            "Recording only the first bytes of each frame is a good way to record a migration as long as page payload "
            "is what is cut. Here a cut falls on a header: several headers shared a frame, or the snap length was too "
            "small."
        ),
        destination=UNAFFECTED,
        reference=READER + "; a larger snap length helps, 1500 with segmentation offload switched off is safe",
        since="any capture",
        example="channel 0: I S (frame cut after 96 bytes) S",
        conditions=(RecordingNote(NoteKind.CUT_BY_SNAPLEN, if_headers_cut=True),),
    ),
    Rule(
        code="MFD903",
        title="The start of the stream is recorded",
        severity=Severity.WARNING,
        why=(
            "The capture started when the connection already existed. Decoding begins at the first bytes that look "
            "like a packet, offsets count from the first byte recorded, and what came before is unknown."
        ),
        destination=UNAFFECTED,
        reference=READER + "; start the capture before the migrate command",
        since="any capture",
        example="channel 0: (not recorded) D D S",
        conditions=(RecordingNote(NoteKind.START_NOT_CAPTURED),),
    ),
    Rule(
        code="MFD904",
        title="The end of the stream is recorded",
        severity=Severity.WARNING,
        why=(
            "The recording stops while the connection is still open, so more may have followed. A migration that hangs "
            "looks the same: then the last bytes on each channel are the interesting ones."
        ),
        destination=UNAFFECTED,
        reference=READER + "; stop the capture after the connections are closed",
        since="any capture",
        example="channel 0: I S D D   and no FIN",
        conditions=(RecordingNote(NoteKind.END_NOT_CAPTURED),),
    ),
    Rule(
        code="MFD905",
        title="Retransmitted bytes equal those sent before",
        severity=Severity.WARNING,
        why=(
            "TCP sent the same bytes of a stream twice with different content, which no working stack does. The "
            "capture is damaged or edited, or something rewrites packets on the way. The content seen first is used."
        ),
        destination="Which of the two a destination got is not known; usually the first one to arrive.",
        reference=READER,
        since="any capture",
        example="channel 0: two segments for bytes 1408 to 2856 that differ",
        conditions=(RecordingNote(NoteKind.RETRANSMISSION_DIFFERS),),
    ),
    Rule(
        code="MFD906",
        title="The capture file is whole",
        severity=Severity.WARNING,
        why=(
            "The file ends inside a record, or a record's length cannot be true. Everything in front of that point was"
            " used, nothing behind it."
        ),
        destination=UNAFFECTED,
        reference=READER + "; often the disk was full or tcpdump was killed",
        since="any capture",
        example="a pcap file that ends 20 bytes into a record of 1514",
        conditions=(RecordingNote(NoteKind.TRUNCATED_FILE), RecordingNote(NoteKind.DAMAGED_FILE)),
    ),
    Rule(
        code="MFD907",
        title="The channels can be read, or a key log is given",
        severity=Severity.WARNING,
        why=(
            "The connections are TLS sessions. With a key log, written by a QEMU whose environment sets SSLKEYLOGFILE, "
            "Wireshark's libraries decrypt them; without one only their sizes are known."
        ),
        destination="None: the destination has the keys. Nothing can be said about the stream.",
        reference=READER + "; option --keylog FILE",
        since="any capture of a TLS migration",
        example="main: 16 03 01 ...   channel 0: 16 03 01 ...",
        conditions=(RecordingNote(NoteKind.TLS),),
    ),
    Rule(
        code="MFD908",
        title="Every byte of a channel belongs to a packet",
        severity=Severity.WARNING,
        why=(
            "Some bytes could not be framed, and reading went on at the next place that looks like a packet. Counts "
            "behind it are reliable only if that place was right, and packets inside the skipped bytes are not "
            "counted."
        ),
        destination=(
            "If the bytes were really sent, the destination stopped there (MFD101). If they are missing from the "
            "recording, it saw nothing unusual."
        ),
        reference=READER,
        since="any capture",
        example="channel 0: I S D (5000 bytes that are no packet) D S",
    ),
    Rule(
        code="MFD909",
        title="The main channel is understood up to its end",
        severity=Severity.WARNING,
        why=(
            "Device bodies have no length. They are walked with the vmdescription at the end of the stream; where that"
            " is missing, or an iterable device has an unknown format, reading stops when the next footer cannot be "
            "found. Rendezvous records behind that point are not counted."
        ),
        destination="None: the destination knows its devices. Rules about main are checked up to that point only.",
        reference="not QEMU: the main channel decoder of this tool",
        since="any input",
        example="main: START[B F E] START(dirty-bitmap)[...   unknown body",
        conditions=(MainProblem(ProblemKind.LIMIT, Load.GOES_ON, silent=True),),
    ),
    Rule(
        code="MFD910",
        title="The capture contains nothing the reader cannot handle",
        severity=Severity.WARNING,
        why=(
            "Frames of a link type, an encapsulation or with IP fragmentation that this reader does not take apart "
            "were left out, or connections beyond the limit of what one capture may hold. If a channel travelled in "
            "them, it is missing or has gaps."
        ),
        destination=UNAFFECTED,
        reference=READER + "; --reader wireshark knows more encapsulations",
        since="any capture",
        example="a pcap file with link type 189 (USB)",
        conditions=(RecordingNote(NoteKind.UNSUPPORTED_LINK), RecordingNote(NoteKind.LIMIT), PAYLOAD_NOT_CHECKED),
    ),
    Rule(
        code="MFD911",
        title="The stream is of a supported release (4.0 or later)",
        severity=Severity.WARNING,
        why=(
            "3.0 and 3.1 had multifd as the experiment x-multifd, with another packet header and a packet size that "
            "was a parameter. Such channels are recognised, not decoded."
        ),
        destination="4.0 and later do not read such packets either: they lose framing.",
        reference="MultiFDPacket_t, migration/ram.c (3.0, 3.1)",
        since="3.0 and 3.1",
        example="channel 0: I, then a packet with a 284-byte header",
    ),
)
