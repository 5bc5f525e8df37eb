"""Dead-man timers and armed sessions, decided purely: when they fire, and what a record says."""

from random import Random
from typing import Any

import pytest

from engine.accounts.messages import CancelAll
from engine.errors import InvariantViolated
from engine.messages import Refused, Wake
from engine.products.decision import Decision
from engine.products.sessions import desk as sessions_desk
from engine.products.sessions.desk import TIMEOUT_NS_MAX, TIMEOUT_NS_MIN, DeadMan, SessionsDesk
from engine.products.sessions.messages import (
    ArmSession,
    DeadManFired,
    DeadManSet,
    DisarmSession,
    EndSession,
    SessionArmed,
    SessionDisarmed,
    SessionFired,
    SetDeadMan,
)
from engine.refusals import Reason
from engine.units import SESSIONS_DESK, AccountId, InstrumentId, Sequence, TimeNs
from tests.products.line import ANN, BOB, Line

KEY, OTHER = 3, 4
SECOND = 1_000_000_000
TIMEOUT = TimeNs(5 * SECOND)


class Sessions(Line):
    """A line, and its sessions desk."""

    @property
    def sessions(self) -> SessionsDesk:
        """The live desk, which agrees with the folded one."""
        assert self.state.sessions.snapshot() == self.mirror.sessions.snapshot()
        return self.state.sessions

    def set(self, timeout_ns: int = TIMEOUT, *, by: AccountId = ANN, key_id: int = KEY) -> Any:
        """Set a timer."""
        return self.submit(SetDeadMan(by, key_id, TimeNs(timeout_ns)))

    def wake(self, after_ns: int) -> list[Any]:
        """Let time go by and wake the desk; what it decided."""
        self.now_ns = TimeNs(self.now_ns + after_ns)
        record = self.submit(Wake(SESSIONS_DESK))
        return [*record.events, *record.follow_ups]


def cancels(key_id: int = KEY, by: AccountId = ANN) -> CancelAll:
    """What a timer or session of that key leads to."""
    return CancelAll(by, InstrumentId(0), key_id)


def test_a_timer_fires_at_its_deadline_and_not_before() -> None:
    line = Sessions()
    record = line.set()
    assert record.events == [DeadManSet(ANN, KEY, TimeNs(1_000 + TIMEOUT), TIMEOUT)]
    assert line.sessions.next_deadline_ns == 1_000 + TIMEOUT
    assert line.wake(TIMEOUT - 1) == []
    assert line.wake(1) == [DeadManFired(ANN, KEY), cancels()]
    assert line.sessions.next_deadline_ns is None
    assert line.wake(TIMEOUT) == []
    line.check_at_rest()


def test_setting_a_timer_again_moves_its_deadline() -> None:
    line = Sessions()
    line.set()
    line.now_ns = TimeNs(line.now_ns + TIMEOUT - 1)
    line.set()
    assert line.wake(TIMEOUT - 1) == []
    assert line.wake(1) == [DeadManFired(ANN, KEY), cancels()]


def test_a_timer_that_is_disarmed_never_fires() -> None:
    line = Sessions()
    line.set()
    assert line.set(0).events == [DeadManSet(ANN, KEY, TimeNs(0), TimeNs(0))]
    assert line.sessions.timers == []
    assert line.wake(2 * TIMEOUT) == []


def test_a_timer_that_has_run_out_fires_even_if_it_is_set_before_its_wake() -> None:
    line = Sessions()
    line.set()
    line.now_ns = TimeNs(line.now_ns + TIMEOUT)
    record = line.set()
    deadline_ns = TimeNs(line.now_ns + TIMEOUT)
    fired = [DeadManFired(ANN, KEY), DeadManSet(ANN, KEY, deadline_ns, TIMEOUT)]
    assert (list(record.events), list(record.follow_ups)) == (fired, [cancels()])
    assert line.sessions.timer(ANN, KEY) == DeadMan(ANN, KEY, deadline_ns, TIMEOUT)
    line.check_at_rest()


def test_each_key_has_a_timer_of_its_own_for_each_account() -> None:
    line = Sessions()
    line.set()
    line.set(2 * TIMEOUT, key_id=OTHER)
    line.set(3 * TIMEOUT, by=BOB)
    assert line.wake(TIMEOUT) == [DeadManFired(ANN, KEY), cancels()]
    assert line.wake(TIMEOUT) == [DeadManFired(ANN, OTHER), cancels(OTHER)]
    assert line.wake(TIMEOUT) == [DeadManFired(BOB, KEY), cancels(by=BOB)]


@pytest.mark.parametrize("timeout_ns", [1, TIMEOUT_NS_MIN - 1, TIMEOUT_NS_MAX + 1, -1])
def test_a_timeout_out_of_bounds_is_refused_and_leaves_the_timer_alone(timeout_ns: int) -> None:
    line = Sessions()
    line.set()
    [refused] = line.set(timeout_ns).events
    assert (refused.reason, refused.field) == (Reason.INVALID_VALUE, "timeout_ms")
    assert line.sessions.next_deadline_ns == 1_000 + TIMEOUT


@pytest.mark.parametrize("timeout_ns", [TIMEOUT_NS_MIN, TIMEOUT_NS_MAX])
def test_the_bounds_themselves_are_allowed(timeout_ns: int) -> None:
    assert Sessions().set(timeout_ns).refusal is None


def test_an_account_that_does_not_exist_is_refused() -> None:
    line = Sessions()
    for command in (SetDeadMan(AccountId(9), KEY, TIMEOUT), ArmSession(AccountId(9), KEY, 1)):
        refusal = line.submit(command).refusal
        assert refusal == Refused(Reason.UNKNOWN_ACCOUNT, "account")


def test_one_wake_fires_a_bounded_number_and_the_next_the_rest() -> None:
    line = Sessions()
    for key_id in range(sessions_desk.FIRED_PER_RECORD_MAX + 1):
        line.set(key_id=key_id)
    assert len(line.wake(TIMEOUT)) == 2 * sessions_desk.FIRED_PER_RECORD_MAX
    assert line.sessions.next_deadline_ns == 1_000 + TIMEOUT
    assert len(line.wake(0)) == 2


def test_the_end_of_an_armed_session_cancels_its_keys_orders_once() -> None:
    line = Sessions()
    assert line.submit(ArmSession(ANN, KEY, 11)).events == [SessionArmed(11, ANN, KEY)]
    ended = line.submit(EndSession(11))
    fired = [SessionFired(11, ANN, KEY)]
    assert (list(ended.events), list(ended.follow_ups)) == (fired, [cancels()])
    again = line.submit(EndSession(11))
    assert (again.events, again.follow_ups) == ([], [])
    line.check_at_rest()


def test_a_disarmed_session_ends_without_effect_and_may_be_armed_again() -> None:
    line = Sessions()
    line.submit(ArmSession(ANN, KEY, 11))
    assert line.submit(DisarmSession(11)).events == [SessionDisarmed(11)]
    assert line.submit(DisarmSession(11)).events == []
    assert line.submit(EndSession(11)).events == []
    line.submit(ArmSession(ANN, KEY, 11))
    line.submit(ArmSession(ANN, KEY, 11))  # said twice is as good as once
    assert list(line.sessions.armed) == [11]
    line.check_at_rest()


def test_timers_and_sessions_beyond_the_limits_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions_desk, "TIMERS_MAX", 1)
    monkeypatch.setattr(sessions_desk, "SESSIONS_MAX", 1)
    line = Sessions()
    line.set()
    line.submit(ArmSession(ANN, KEY, 1))
    assert line.set().refusal is None
    assert line.submit(ArmSession(ANN, KEY, 1)).refusal is None
    for record in (line.set(key_id=OTHER), line.submit(ArmSession(ANN, KEY, 2))):
        assert record.refusal is not None
        assert record.refusal.reason is Reason.LIMIT_EXCEEDED


def test_a_command_of_another_desk_is_a_contradiction() -> None:
    with pytest.raises(InvariantViolated):
        SessionsDesk().decide(Sequence(1), TimeNs(1), cancels(), None)


@pytest.mark.parametrize("seed", range(20))
def test_deciding_changes_nothing_and_folding_gives_the_same_desk(seed: int) -> None:
    random, line = Random(seed), Sessions()
    for _ in range(200):
        line.now_ns = TimeNs(line.now_ns + random.randrange(2 * SECOND))
        key_id, session_id = random.randrange(3), random.randrange(4)
        timeout_ns = TimeNs(random.choice((0, 1, 3)) * SECOND)
        command = random.choice(
            (
                SetDeadMan(random.choice((ANN, BOB)), key_id, timeout_ns),
                ArmSession(ANN, key_id, session_id),
                DisarmSession(session_id),
                EndSession(session_id),
                Wake(SESSIONS_DESK),
            )
        )
        before = line.sessions.snapshot()
        decided: Decision = line.sessions.decide(Sequence(1), line.now_ns, command, None)
        assert line.sessions.snapshot() == before
        record = line.submit(command)
        assert list(decided.events) == list(record.events)
        timers = line.sessions.timers
        assert timers == sorted(timers, key=lambda timer: timer.deadline_ns)
        if type(command) is Wake:
            assert all(timer.deadline_ns > line.now_ns for timer in timers)
    assert SessionsDesk.restore(line.sessions.snapshot()).snapshot() == line.sessions.snapshot()
    line.check_at_rest()
