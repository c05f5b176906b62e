"""Fuzzing: endless varied migrations through the codec, the receiver model and, if there is one, a real QEMU.

* ``case``: a seed gives a plan and edits; they give a stream.
* ``model``: what must hold without any QEMU.
* ``against``: what a real destination did, held against what the model says it can do.
* ``shrink``: a disagreement made as small as it gets.
* ``campaign``: many seeds, in parallel, resumable.
"""
