"""The rules, a family a folder: in ``rules.py`` its rows, in ``mutations.py`` the ways to break them."""
