"""The dead-man timer and key-scoped cancels over HTTP."""

from trio.testing import wait_all_tasks_blocked

from api.keys.auth import bearer_key
from engine.accounts.messages import Permission
from tests.api.routes.venue import ALICE, Venue

SPARE = "ock_spare"


async def spare_key(venue: Venue) -> None:
    """Let another key of Alice's in."""
    may = (Permission.READ, Permission.TRADE)
    record = await venue.service.submit(bearer_key(SPARE, *may, account_id=ALICE))
    assert record.refusal is None


async def test_a_timer_is_set_shown_and_disarmed(venue: Venue) -> None:
    before = await venue.alice.get("/v1/dead-man")
    assert (before["timeout_ms"], before["deadline_ns"]) == (0, None)
    set_to = await venue.alice.post("/v1/dead-man", 200, timeout_ms=60_000)
    shown = await venue.alice.get("/v1/dead-man")
    assert shown == set_to
    assert shown["account"] == ALICE
    assert shown["deadline_ns"] > venue.service.now_ns()
    off = await venue.alice.post("/v1/dead-man", 200, timeout_ms=0)
    assert (off["timeout_ms"], off["deadline_ns"]) == (0, None)


async def test_another_key_has_a_timer_of_its_own(venue: Venue) -> None:
    await spare_key(venue)
    await venue.alice.post("/v1/dead-man", 200, timeout_ms=60_000)
    assert (await venue.caller(SPARE).get("/v1/dead-man"))["deadline_ns"] is None
    sessions = await venue.admin.get("/v1/admin/sessions")
    assert [(one["account"], one["timeout_ms"]) for one in sessions["timers"]] == [(ALICE, 60_000)]


async def test_a_timer_out_of_bounds_is_refused(venue: Venue) -> None:
    short = await venue.alice.post("/v1/dead-man", 422, timeout_ms=999)
    assert (short["code"], short["field"]) == ("INVALID_VALUE", "timeout_ms")
    long = await venue.alice.post("/v1/dead-man", 400, timeout_ms=3_600_001)
    assert (long["code"], long["field"]) == ("INVALID_FIELD", "timeout_ms")


async def test_an_admin_sets_it_for_orders_of_its_own_key(venue: Venue) -> None:
    unstated = await venue.admin.post("/v1/dead-man", 400, timeout_ms=60_000)
    assert unstated["field"] == "account"
    timer = await venue.admin.post("/v1/dead-man", 200, timeout_ms=60_000, account=ALICE)
    assert (await venue.admin.get(f"/v1/dead-man?account={ALICE}")) == timer
    unknown = await venue.admin.post("/v1/dead-man", 404, timeout_ms=60_000, account=999)
    assert unknown["code"] == "UNKNOWN_ACCOUNT"


async def test_a_key_that_only_reads_sees_its_timer_and_sets_none(venue: Venue) -> None:
    await venue.reader.get("/v1/dead-man")
    assert (await venue.reader.post("/v1/dead-man", 403, timeout_ms=1_000))["code"] == "FORBIDDEN"


async def test_cancel_all_of_a_key_leaves_the_accounts_other_orders(venue: Venue) -> None:
    await spare_key(venue)
    await venue.alice.place("mine")
    await venue.caller(SPARE).place("others")
    done = await venue.alice.delete("/v1/orders?scope=key")
    assert (done["complete"], done["cancelled_orders"]) == (True, 1)
    await wait_all_tasks_blocked()
    left = await venue.alice.get("/v1/orders")
    assert [one["client_order_id"] for one in left["orders"]] == ["others"]
    assert (await venue.alice.delete("/v1/orders"))["cancelled_orders"] == 1
