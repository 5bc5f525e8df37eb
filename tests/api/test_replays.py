"""A signed request counts once, and what was seen is remembered no longer than it could count."""

from hypothesis import given
from hypothesis import strategies as st

from api.keys.replays import ReplayGuard, Sighting


def mark(number: int) -> bytes:
    """A signature unlike any other."""
    return number.to_bytes(32, "big")[::-1]


def test_a_signature_is_new_once() -> None:
    guard = ReplayGuard(10, 10)
    assert guard.see(1, mark(1), not_after_ns=5, now_ns=0) is Sighting.NEW
    assert guard.see(1, mark(1), not_after_ns=5, now_ns=5) is Sighting.REPLAYED
    assert guard.see(1, mark(2), not_after_ns=5, now_ns=5) is Sighting.NEW
    assert guard.see(2, mark(1), not_after_ns=5, now_ns=5) is Sighting.NEW


def test_it_is_forgotten_right_after_it_could_count_and_not_before() -> None:
    guard = ReplayGuard(10, 10)
    guard.see(1, mark(1), not_after_ns=5, now_ns=0)
    guard.see(1, mark(2), not_after_ns=9, now_ns=5)
    assert len(guard) == 2
    guard.see(1, mark(3), not_after_ns=9, now_ns=6)
    assert len(guard) == 2


def test_a_full_guard_refuses_and_remembers_nothing_more_until_time_passes() -> None:
    guard = ReplayGuard(per_key_max=2, requests_max=3)
    for number in range(2):
        guard.see(1, mark(number), not_after_ns=5, now_ns=0)
    assert guard.see(1, mark(7), not_after_ns=5, now_ns=0) is Sighting.FULL
    assert guard.see(1, mark(1), not_after_ns=5, now_ns=0) is Sighting.REPLAYED
    assert guard.see(2, mark(7), not_after_ns=5, now_ns=0) is Sighting.NEW
    assert guard.see(3, mark(7), not_after_ns=5, now_ns=0) is Sighting.FULL
    assert len(guard) == 3
    assert guard.see(1, mark(7), not_after_ns=9, now_ns=6) is Sighting.NEW


_sightings = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(0, 4), st.integers(0, 3))
)


@given(_sightings)
def test_it_agrees_with_a_list_of_all_that_was_ever_seen(
    sightings: list[tuple[int, int, int, int]],
) -> None:
    guard, now_ns = ReplayGuard(3, 5), 0
    seen: list[tuple[int, int, int]] = []
    for key_id, number, window_ns, elapsed_ns in sightings:
        now_ns += elapsed_ns
        fresh = [one for one in seen if one[2] >= now_ns]
        if any(one[:2] == (key_id, number) for one in fresh):
            expected = Sighting.REPLAYED
        elif sum(one[0] == key_id for one in fresh) >= 3 or len(fresh) >= 5:
            expected = Sighting.FULL
        else:
            expected = Sighting.NEW
            seen.append((key_id, number, now_ns + window_ns))
        assert guard.see(key_id, mark(number), now_ns + window_ns, now_ns) is expected
        assert len(guard) == sum(one[2] >= now_ns for one in seen)
