"""The reference receiver: every outcome a real destination can reach, and why.

Theory of operation. A multifd destination is one main process and one process per channel (protocol reference, section
D). They meet in one place only: at each rendezvous record main collects one token per channel, and each channel gives
one token per SYNC and then waits to be released. Tokens are anonymous, yet a channel can never be more than one SYNC
ahead of main, so the k-th rendezvous completes if and only if every channel reaches its k-th SYNC: *lockstep*. What a
destination does is therefore decided by counting, up to main's end or its first rendezvous that some channel cannot
reach; only what stands behind the last rendezvous races with completion, and an error on a channel races with main's
last check.

* ``script``: what each channel and main make a destination do, as short lists of steps. No bytes here.
* ``machine``: the state tables of the channel process and the main process, and one step of the whole.
* ``explore``: every interleaving of the machine, by brute force; the judge of ``solve`` on small scripts.
* ``solve``: the same set of outcomes by counting, for scripts of any size.
* ``explain``: who waits for whom, since which byte, and a schedule that gets there.
"""
