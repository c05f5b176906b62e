"""The reference sender: a migration plan to records, in an order in which a source of that release could send them.

It follows the grammars of the protocol reference, section E: per section (all releases; the only mode before 8.1) and
per round, each release's final SYNC, what older releases leave in headers, device state from 10.0 on. ``send`` yields
each record with its channel; encoding is the records' own business (``Record.pieces``).

Source: migration_thread (migration/migration.c), ram_save_setup, ram_save_iterate, ram_save_complete (migration/ram.c),
qemu_savevm_state_* (migration/savevm.c), 4.0 to 11.1.
"""

from multifd_codec.sender.sender import draft, send

__all__ = ["draft", "send"]
