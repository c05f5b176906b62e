"""One pass over each channel: counts, violations, and what the receiver model needs. Free of any release.

A survey states what is on the wire. What a destination of a given release does about it is decided afterwards
(``analyzers.judge``), so that the release can be inferred from the same pass.
"""
