"""Pages that are copied when all is known: the same files and digests as pages that are written at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.extraction import hashing, stores
from analyzers.extraction.hashing import Zeros, copied, file_hash
from analyzers.extraction.output import Folder
from analyzers.extraction.stores import FileStore, Later
from multifd_codec.source import BufferSource

PAGE, PAGES = 16, 12
SOURCE = BufferSource(bytes(range(1, 1 + PAGES)) * PAGE)

actions = st.lists(
    st.tuples(st.sampled_from(["later", "write", "zero", "read"]), st.integers(0, PAGES - 1)), max_size=14
)


@given(done=actions, behind=st.integers(0, 40), many=st.integers(1, 8))
def test_order_makes_no_difference(
    done: list[tuple[str, int]], behind: int, many: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    size, truth, named = PAGES * PAGE + behind, bytearray(PAGES * PAGE + behind), set[int]()
    with pytest.MonkeyPatch.context() as patch, Folder(Path(tmp_path_factory.mktemp("store"))) as folder:
        patch.setattr(stores, "PIECE", 10)
        patch.setattr(stores, "MANY_LATER", many)
        patch.setattr(hashing, "LEAST_COPIED", 20)
        place = folder.place()
        store = FileStore(place.create, place.reopen)
        for what, page in done:
            at = page * PAGE
            if what == "read":
                assert store.read("ram", at, PAGE) == truth[at : at + PAGE]
                continue
            content = bytes(PAGE) if what == "zero" else SOURCE.read(at, PAGE)
            if what == "zero":
                store.zero("ram", at, PAGE)
            elif what == "later" and page not in named:
                store.later("ram", Later(at, SOURCE, at, PAGE))
            else:
                store.write("ram", at, content)
            truth[at : at + PAGE] = content
            named.add(page)
        digest = copied(store, "ram", size, Zeros(1 << 20), None)
        store.finish("ram", size)
        digest = digest or file_hash(place, "ram", size, Zeros(1 << 20), None)
        store.close()
    assert (folder.path / "ram").read_bytes() == truth
    assert digest == hashlib.sha256(truth).hexdigest()
