"""The sorted keys of one side: always like a plain sorted list."""

from random import Random

from engine.orderbook.ladder import NEAR_KEYS_MAX, Ladder


def test_a_ladder_far_larger_than_its_near_part_stays_sorted_through_a_random_walk() -> None:
    random, ladder, model = Random(7), Ladder(), set[int]()
    for step in range(12_000):
        growing = step < 5_000 or 8_000 < step < 9_000
        key = random.randrange(1_000_000)
        if growing or not model:
            if key not in model:
                ladder.add(key)
                model.add(key)
        else:
            # Mostly the best key goes, as trades do it; sometimes any.
            victim = max(model) if random.random() < 0.05 else next(iter(model))
            ladder.remove(victim)
            model.remove(victim)
        assert len(ladder.near) <= NEAR_KEYS_MAX
        assert len(ladder) == len(model)
        if step % 500 == 0:
            assert list(ladder) == sorted(model, reverse=True)
    while model:
        assert ladder.near[-1] == max(model) if len(model) % 50 == 0 else True
        best = ladder.near[-1]
        ladder.remove(best)
        model.remove(best)
    assert not ladder.near
    assert not len(ladder)


def test_the_best_key_is_last_in_near_however_keys_come_and_go() -> None:
    ladder = Ladder()
    for key in range(3 * NEAR_KEYS_MAX, 0, -1):
        ladder.add(key)
        assert ladder.near[-1] == 3 * NEAR_KEYS_MAX
    for key in range(3 * NEAR_KEYS_MAX, 0, -1):
        assert ladder.near[-1] == key
        ladder.remove(key)
