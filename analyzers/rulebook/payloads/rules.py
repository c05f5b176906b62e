"""Page payloads of multifd packets: MFD217 to MFD223."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import Effect, HeaderCondition, PacketCondition, if_zero_pages_read
from analyzers.rulebook.phrases import CHANNEL_ERROR, COMPRESSION, MULTIFD, with_methods
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.compression import STREAMED, Payload
from multifd_codec.dialect.releases import DestinationHabits
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.payload import MAX_COMPRESSED_PAYLOAD

FAMILY = "packet fields"


def _size_checked(destination: DestinationHabits) -> Effect:
    return Effect.ERROR if destination.payload_sizes_checked else Effect.CRASH


EMPTY_WITH_SIZE = HeaderCondition(
    field="next_packet_size",
    when=lambda c: ~c.has_pages & (c.size != 0),
    says=lambda c, i: f"next_packet_size {c.size[i]} on a packet without pages",
    severity=lambda c: None if c.sender.maybe(lambda s: s.sync_size_stale) else Severity.WARNING,
)
PAGE_LENGTHS = PacketCondition(field="payload", effect=Effect.CRASH)
DAMAGED = PacketCondition(field="payload", effect=Effect.ERROR)
LEFT_OVER = PacketCondition(field="payload")

RULES = (
    Rule(
        code="MFD217",
        title="Without compression next_packet_size is normal_pages times the page size",
        severity=Severity.WARNING,
        why=(
            "An uncompressed packet is followed by exactly that many bytes; receivers compute the length themselves "
            "and ignore the field. Tools and proxies that trust the field will lose their place."
        ),
        destination="The field is ignored. Outcome: completes.",
        reference=(
            "multifd_nocomp_recv, migration/multifd-nocomp.c (nocomp_recv_pages in migration/multifd.c up to 8.2)"
        ),
        since=MULTIFD,
        example="channel 0: I S D S   with D.normal_pages = 1, D.next_packet_size = 8192",
        conditions=(
            HeaderCondition(
                field="next_packet_size",
                when=lambda c: (c.compression == 0) & (c.normal > 0) & c.possible & (c.size != c.plain_size),
                says=lambda c, i: f"next_packet_size {c.size[i]}, {c.normal[i]} pages are {c.plain_size[i]} bytes",
            ),
        ),
    ),
    Rule(
        code="MFD218",
        title="Without normal pages next_packet_size is 0",
        severity=Severity.ERROR,
        why=(
            "No payload follows such a packet. Senders 5.0 to 8.1 leave the size of an earlier packet in packets "
            "without any pages, which is legal and harmless, as those are not parsed. In packets with zero pages only,"
            " compressed modes assert that it is 0."
        ),
        destination=(
            "Compressed modes, packet with zero pages only: assertion. Outcome: crashes. Without compression or "
            "without any pages: ignored. Outcome: completes."
        ),
        reference=(
            "recv methods in migration/multifd-zlib.c, -zstd.c, -qpl.c, -uadk.c; sender corrected by 1618f55221 (8.2)"
        ),
        since=f"{MULTIFD}; the assertion since 9.0",
        example="zlib: channel 0: I S D S   with D.normal_pages = 0, D.zero_pages = 1, D.next_packet_size = 100",
        conditions=(
            HeaderCondition(
                field="next_packet_size",
                when=lambda c: (c.compression == 0) & (c.normal == 0) & (c.zero > 0) & (c.size != 0),
                says=lambda c, i: f"next_packet_size {c.size[i]} on a packet with zero pages only",
                severity=Severity.WARNING,
            ),
            HeaderCondition(
                field="next_packet_size",
                when=lambda c: (c.compression != 0) & (c.normal == 0) & (c.zero > 0) & (c.size != 0),
                says=lambda c, i: f"next_packet_size {c.size[i]} on a compressed packet with zero pages only",
                effect=lambda d: _size_checked(d) if d.zero_pages else Effect.NONE,
                severity=if_zero_pages_read,
            ),
            EMPTY_WITH_SIZE,
        ),
    ),
    Rule(
        code="MFD219",
        title="zlib and zstd: next_packet_size is at most 1 MiB",
        severity=Severity.ERROR,
        why=(
            "The receive buffer is 1 MiB and the field is read into it without a check. The excess is written behind "
            "the buffer on the heap."
        ),
        destination=(
            "Heap overflow with bytes from the stream, then usually a decompression error. Outcome: crashes, hangs or "
            "fails."
        ),
        reference="multifd_zlib_recv, migration/multifd-zlib.c; multifd_zstd_recv, migration/multifd-zstd.c",
        since=f"{COMPRESSION}, still in the tree of February 2026",
        example="zlib: channel 0: I S D S   with D.next_packet_size = 1048577",
        conditions=(
            HeaderCondition(
                field="next_packet_size",
                when=lambda c: ((c.compression & STREAMED) != 0) & (c.normal > 0) & (c.size > MAX_COMPRESSED_PAYLOAD),
                says=lambda c, i: (
                    f"next_packet_size {c.size[i]} exceeds the receive buffer of {MAX_COMPRESSED_PAYLOAD} bytes"
                ),
                effect=_size_checked,
                chance=True,
            ),
        ),
    ),
    Rule(
        code="MFD220",
        title="qpl and uadk: page lengths are at most the page size and add up to next_packet_size",
        severity=Severity.ERROR,
        why=(
            "The payload starts with one 32-bit length for each normal page, the compressed pages follow. A length "
            "equal to the page size marks a page sent as it is. The receiver asserts what it should check."
        ),
        destination="Assertion, the process aborts. Outcome: crashes.",
        reference="multifd_qpl_recv, migration/multifd-qpl.c; multifd_uadk_recv, migration/multifd-uadk.c",
        since=with_methods(Payload.LENGTHS),
        example="qpl: channel 0: I S D S   with a first page length of 4097",
        conditions=(PAGE_LENGTHS,),
    ),
    Rule(
        code="MFD221",
        title="qatzip: next_packet_size is at most 1 MiB and the payload expands to all normal pages",
        severity=Severity.ERROR,
        why=(
            "All pages of a packet form one self-contained compressed buffer. A larger size or another expanded length "
            "means damage or another page size."
        ),
        destination=CHANNEL_ERROR,
        reference="multifd_qatzip_recv, migration/multifd-qatzip.c",
        since=with_methods(Payload.MEMBERS),
        example="qatzip: channel 0: I S D S   with D.next_packet_size = 1048577",
        conditions=(
            HeaderCondition(
                field="next_packet_size",
                when=lambda c: (
                    (c.compression == int(PacketFlags.QATZIP)) & (c.normal > 0) & (c.size > MAX_COMPRESSED_PAYLOAD)
                ),
                says=lambda c, i: (
                    f"next_packet_size {c.size[i]} exceeds the receive buffer of {MAX_COMPRESSED_PAYLOAD} bytes"
                ),
                effect=Effect.ERROR,
            ),
        ),
    ),
    Rule(
        code="MFD222",
        title="zlib and zstd: each payload expands to exactly its normal pages, in the context of its channel",
        severity=Severity.ERROR,
        why=(
            "Each channel has one compression stream for the whole migration, flushed at the end of every packet. "
            "Payloads may refer back to earlier packets of the channel, so one lost, changed or reordered packet "
            "spoils all later ones."
        ),
        destination=CHANNEL_ERROR,
        reference="multifd_zlib_recv, migration/multifd-zlib.c; multifd_zstd_recv, migration/multifd-zstd.c",
        since=COMPRESSION,
        example="zlib: channel 0: I S D D S   with the first D removed",
        conditions=(DAMAGED,),
    ),
    Rule(
        code="MFD223",
        title="A compressed payload has no bytes left over behind its last page",
        severity=Severity.WARNING,
        why=(
            "The receiver stops expanding when it has all pages and drops the rest of the payload. Bytes left over "
            "come from a foreign compressor or from damage, and hide data no destination will see."
        ),
        destination="The rest is dropped without a word. Outcome: completes.",
        reference="multifd_zlib_recv, migration/multifd-zlib.c; multifd_zstd_recv, migration/multifd-zstd.c",
        since=COMPRESSION,
        example="zlib: channel 0: I S D S   with 4 bytes appended to D's payload and counted in next_packet_size",
        conditions=(LEFT_OVER,),
    ),
)
