"""The commands of ``multifd``, one a file called as it is: each is found by its file and has a ``command``."""
