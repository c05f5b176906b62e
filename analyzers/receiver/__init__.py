"""The reference receiver: every outcome a real destination can reach, and why. docs/receiver.md has the theory.

* ``script``: what each channel and main make a destination do, as short lists of steps. No bytes here.
* ``device_state``: when the state of a device is complete.
* ``tables``: the states of a channel's thread and of main, and every transition as a row.
* ``machine``: one step of the whole destination, from the rows.
* ``explore``: every interleaving of the machine, by brute force; the judge of ``solve`` on small scripts.
* ``solve``: the same set of outcomes by counting, for scripts of any size.
* ``explain``, ``refusals``: who waits for whom, since which byte, and a schedule that gets there.
* ``diagram``: the tables as the second half of docs/receiver.md.
"""
