"""Keys are permanent: what is forgotten in memory is never taken for new."""

import subprocess
import sys
from random import Random

import msgspec
import pytest

from engine.errors import InvariantViolated
from engine.journal.key_filter import FilterBlock, KeyFilter
from engine.journal.keys import Answered, ForgottenKeys, KeyForgotten, KeyIndex, Recalled
from engine.journal.snapshots import READABLE_FORMATS
from engine.journal.state import EngineState, ReleasedSnapshot, StateSnapshot

NEVER = frozenset[int]()


class Twin:
    """An index beside a plain dict of everything, and a history that lags behind both."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.index = KeyIndex()
        self.all: dict[tuple[int, str], Answered] = {}
        self.sequence = 0
        self.watermark = 0
        self.needed: set[int] = set()
        self.looked_up = 0

    def use(self) -> None:
        self.sequence += self.random.randint(1, 3)
        one = (self.random.randint(-3, 5), f"k{self.random.randrange(3_000)}")
        if one not in self.all:
            digest = self.random.getrandbits(64)
            self.all[one] = Answered(self.sequence, digest)
            self.index.add(*one, self.sequence, digest)
            if self.random.random() < 0.1:
                self.needed.add(self.sequence)

    def forget(self) -> None:
        self.watermark = self.random.randint(self.watermark, self.sequence)
        exact_max, keys_max = self.random.randint(0, 200), self.random.randint(1, 300)
        before = len(self.index)
        looked_at = self.index.forget(self.watermark, exact_max, keys_max, self.needed.__contains__)
        assert before - looked_at <= len(self.index)
        assert looked_at <= keys_max
        assert self.index.forgotten_through <= self.watermark

    def restart(self) -> None:
        sent = msgspec.msgpack.encode((self.index.snapshot(), self.index.snapshot_of_forgotten()))
        kinds = tuple[dict[int, dict[str, bytes]], ForgottenKeys]
        self.index = KeyIndex.restore(*msgspec.msgpack.decode(sent, type=kinds))

    def check(self) -> None:
        for _ in range(30):
            one = (self.random.randint(-3, 5), f"k{self.random.randrange(3_500)}")
            self.check_one(*one)

    def check_one(self, scope: int, key: str) -> None:
        expected = self.all.get((scope, key))
        try:
            answered = self.index.answer(scope, key)
        except KeyForgotten:
            self.looked_up += 1
            stale = Recalled(self.index.forgotten_through - 1, {key: None})
            with pytest.raises(KeyForgotten):
                self.index.answer(scope, key, stale)
            answered = self.index.answer(scope, key, Recalled(self.watermark, {key: expected}))
        assert answered == expected

    def check_all(self) -> None:
        for scope, key in self.all:
            self.check_one(scope, key)
        exact = {sequence for sequence, _ in self.all.values() if sequence in self.needed}
        for (scope, key), answered in self.all.items():
            if answered.sequence in exact or answered.sequence > self.index.forgotten_through:
                assert self.index.get(scope, key) == answered
        assert self.index.contradiction(self.whole()) == ""

    def whole(self) -> KeyIndex:
        whole = KeyIndex()
        for (scope, key), answered in self.all.items():
            whole.add(scope, key, *answered)
        return whole


@pytest.mark.parametrize("seed", range(6))
def test_an_index_that_forgets_answers_as_one_that_never_does(seed: int) -> None:
    twin = Twin(seed)
    deeds = (twin.use, twin.forget, twin.restart, twin.check)
    for deed in twin.random.choices(deeds, weights=(200, 6, 1, 4), k=1_500):
        deed()
    twin.check_all()
    assert twin.index.forgotten_count > 100 < twin.looked_up


def filled(count: int, scopes: int = 10) -> KeyIndex:
    index = KeyIndex()
    for number in range(1, count + 1):
        index.add(number % scopes, f"key-{number}", number, number)
    return index


def forgetting(index: KeyIndex, through: int, exact_max: int = 0) -> KeyIndex:
    while index.forget(through, exact_max, 1_000, NEVER.__contains__) == 1_000:
        pass
    return index


def test_the_newest_keys_stay_exact_and_those_that_the_history_lacks() -> None:
    index = forgetting(filled(100), through=90, exact_max=30)
    assert (len(index), index.forgotten_count, index.forgotten_through) == (30, 70, 70)
    forgetting(index, through=90)
    assert (len(index), index.forgotten_through) == (10, 90)
    assert index.get(1, "key-91") == Answered(91, 91)


def test_a_restored_index_forgets_the_oldest_of_all_scopes_first() -> None:
    index = forgetting(KeyIndex.restore(filled(100).snapshot()), through=100, exact_max=30)
    assert (len(index), index.forgotten_through) == (30, 70)


def test_a_key_that_nobody_used_needs_no_history_mostly() -> None:
    index = forgetting(filled(20_000), through=20_000)
    hits = sum(index.is_perhaps_forgotten(1, f"new-{number}") for number in range(20_000))
    assert hits < 100


def test_a_key_of_one_scope_is_not_that_of_another() -> None:
    index = forgetting(filled(1_000, scopes=1), through=1_000)
    hits = sum(index.is_perhaps_forgotten(1, f"key-{number}") for number in range(1_000))
    assert index.is_perhaps_forgotten(0, "key-1")
    assert hits < 10


@pytest.mark.parametrize("change", ["lost", "other", "added", "not forgotten"])
def test_a_wrong_index_contradicts_the_whole_one(change: str) -> None:
    index, whole = forgetting(filled(50), through=20), filled(50)
    assert index.contradiction(whole) == ""
    match change:
        case "lost":
            index = KeyIndex.restore(index.snapshot())
        case "other":
            exact = index.snapshot()
            exact[0]["key-50"] = bytes(16)
            index = KeyIndex.restore(exact, index.snapshot_of_forgotten())
        case "added":
            index.add(0, "key-51", 51, 0)
        case _:
            exact = index.snapshot()
            exact[0]["never"] = exact[0].pop("key-50")
            index = KeyIndex.restore(exact, index.snapshot_of_forgotten())
    assert index.contradiction(whole) != ""


def test_a_filter_grows_by_ever_larger_blocks_and_misses_nothing() -> None:
    small = KeyFilter(first_words=16)
    for number in range(2_000):
        small.add(number % 7, f"k{number}")
    assert [block.count for block in small.snapshot()] == [64, 128, 256, 512, 1_024, 16]
    again = KeyFilter.restore(small.snapshot(), first_words=16)
    for one in (small, again):
        assert all(one.has(number % 7, f"k{number}") for number in range(2_000))
        assert sum(one.has(8, f"k{number}") for number in range(2_000)) < 60
        one.add(1, "more")
    assert small.snapshot() == again.snapshot()
    assert len(small) == 2_001


def test_another_process_makes_the_same_filter() -> None:
    script = (
        "from engine.journal.key_filter import KeyFilter as F; f = F(16);"
        "[f.add(-n, f'k\\xe9{n}') for n in range(50)]; print(f.snapshot()[0].words.hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1
    assert found.pop().strip(b"0\n")


@pytest.mark.parametrize("words", [b"", b"1234567", bytes(24)])
def test_a_block_that_is_none_is_not_taken_for_one(words: bytes) -> None:
    with pytest.raises(InvariantViolated):
        KeyFilter.restore([FilterBlock(1, words)])


def test_a_snapshot_of_before_forgetting_is_read() -> None:
    state = EngineState()
    for number in range(1, 20):
        state.released.keys.add(1, f"k{number}", number, number)
    parts = msgspec.msgpack.decode(state.snapshot(), type=StateSnapshot)
    released = msgspec.msgpack.decode(parts.released, type=ReleasedSnapshot)
    old = msgspec.structs.astuple(released)[: -len(("forgotten_keys",))]
    before = msgspec.structs.replace(
        parts, format_version=1, released=msgspec.Raw(msgspec.msgpack.encode(old))
    )
    restored = EngineState(keys_exact_max=5)
    restored.restore(msgspec.msgpack.encode(before))
    assert 1 in READABLE_FORMATS
    assert restored.released.keys.contradiction(state.released.keys) == ""
    restored.forget_keys(through=19)
    assert (len(restored.released.keys), restored.released.keys.forgotten_through) == (5, 14)


_FIVE_MILLION = """
from resource import RUSAGE_SELF, getrusage
import msgspec
from engine.journal.keys import KeyIndex
before, index = getrusage(RUSAGE_SELF).ru_maxrss, KeyIndex()
for number in range(1, 5_000_001):
    index.add(number % 1_000, f"order-{number:09}", number, number)
    if number % 1_000 == 0:
        index.forget(number, 100_000, 1_000, lambda _: False)
used = getrusage(RUSAGE_SELF).ru_maxrss - before
kept = msgspec.msgpack.encode((index.snapshot(), index.snapshot_of_forgotten()))
print(len(index) + index.forgotten_count, used, len(kept))
"""


@pytest.mark.slow
def test_five_million_keys_of_which_few_are_exact_fit_in_fifty_megabytes() -> None:
    environ = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", _FIVE_MILLION]
    found = subprocess.run(command, check=True, capture_output=True, env=environ).stdout
    keys, used_kilobytes, kept_bytes = map(int, found.split())
    assert keys == 5_000_000
    assert used_kilobytes < 50_000
    assert kept_bytes < 25_000_000
