"""Who learns what the process is doing."""

from __future__ import annotations

import threading

from fptkit.sources.activity import doing, watched


def test_a_watcher_learns_it_only_in_its_block() -> None:
    seen: list[tuple[str, str]] = []
    doing("before")
    with watched(lambda what, so_far: seen.append((what, so_far))):
        doing("one")
        with watched(lambda what, so_far: seen.append(("inner", so_far))):
            doing("two", "3 of 4 MB")
        doing("three")
    doing("after")
    assert seen == [("one", ""), ("inner", "3 of 4 MB"), ("three", "")]


def test_threads_are_not_watched() -> None:
    seen: list[str] = []
    with watched(lambda what, so_far: seen.append(what)):
        thread = threading.Thread(target=doing, args=("in a thread",))
        thread.start()
        thread.join()
    assert seen == []
