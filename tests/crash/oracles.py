"""Whole-system truths at rest: the books add up exactly, the journal has each key once."""

import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
import trio

from engine.actors.recovery import blocks_after
from engine.journal.blocks import GENESIS_DIGEST, Head
from engine.journal.records import decode
from engine.storage.bridge import AsyncioThread
from engine.storage.postgres import PostgresJournalStore
from tests.crash.history import Call, History, Outcome
from tests.crash.http_client import Client
from tests.crash.process import outcry
from tests.crash.venue import CLEARING, CustodyClerk, Venue

_FEES: Final = 2
_UNFINISHED: Final = frozenset({"COOLING", "SUBMITTED", "UNKNOWN"})
_WITHDRAWALS_S_MAX: Final = 45.0

Books = defaultdict[tuple[int, str], Decimal]


class Auditor:
    """Looks at a server that nobody calls, and collects what does not add up."""

    def __init__(self, venue: Venue, history: History) -> None:
        self.contradictions: list[str] = []
        self._venue = venue
        self._history = history

    async def check_books(self, clerk: CustodyClerk) -> None:
        """Every balance must follow from acknowledged money and orders alone.

        All unknowns must have been settled before. Waits for withdrawals under way.
        """
        expected: Books = defaultdict(Decimal)
        for call in self._acknowledged():
            _book_money(expected, call)
        client = self._venue.client(0)
        await self._book_withdrawals(expected, client, clerk)
        for account, key in self._history.orders:
            path = f"/v1/orders/by-client-id/{key}?account={account}"
            _book_order(expected, account, (await client.call("GET", path)).content)
        await self._compare(expected, client)
        client.close()

    async def check_journal(self, dsn: str) -> None:
        """Every acknowledged key is in the journal once, no other key is, and time never ran back.

        Raises: JournalCorrupt for a broken chain.
        """
        seen: Counter[tuple[int, str]] = Counter()
        last_ns = 0
        async with AsyncioThread() as bridge:
            store = PostgresJournalStore(bridge, dsn)
            async for block in blocks_after(store, Head(0, 0, 0, GENESIS_DIGEST)):
                for record in decode(block.payload):
                    if record.now_ns < last_ns:
                        self._note(f"record {record.sequence}: time ran back from {last_ns}")
                    last_ns = record.now_ns
                    if record.key:
                        seen[max(0, record.scope), record.key] += 1
            await store.aclose()
        self._compare_keys(seen)

    def _compare_keys(self, seen: "Counter[tuple[int, str]]") -> None:
        calls = {(call.account, call.key): call for call in self._history.calls}
        for key, count in seen.items():
            if count != 1 or key not in calls or calls[key].outcome is Outcome.NOTHING:
                self._note(f"key {key} is {count} times in the journal: {calls.get(key)}")
        for call in self._acknowledged():
            if not seen[call.account, call.key]:
                self._note(f"acknowledged, not in the journal: {call}")

    def _acknowledged(self) -> Iterator[Call]:
        return (call for call in self._history.calls if call.outcome is Outcome.OK)

    async def _book_withdrawals(self, expected: Books, client: Client, clerk: CustodyClerk) -> None:
        known = set()
        for call in self._acknowledged():
            if call.path == "/v1/withdrawals":
                number = call.answer["withdrawal_id"]
                known.add(f"withdrawal-{number}")
                ended = await self._ended(client, call.account, number)
                if (ended["status"] == "SETTLED") is not (f"withdrawal-{number}" in clerk.settled):
                    self._note(f"custody and books disagree: {ended}")
                if ended["status"] == "SETTLED":
                    expected[call.account, ended["asset"]] -= Decimal(ended["amount"])
                    expected[CLEARING, ended["asset"]] += Decimal(ended["amount"])
        if strange := (clerk.settled | clerk.refused) - known:
            self._note(f"custody was asked for what nobody was promised: {strange}")

    async def _ended(self, client: Client, account: int, number: str) -> Any:
        path = f"/v1/withdrawals/{number}?account={account}"
        with trio.fail_after(_WITHDRAWALS_S_MAX):
            while True:
                content = (await client.call("GET", path)).content
                if content["status"] not in _UNFINISHED:
                    return content
                await trio.sleep(0.1)

    async def _compare(self, expected: Books, client: Client) -> None:
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for account in self._venue.accounts():
            content = (await client.call("GET", f"/v1/balances?account={account}")).content
            for row in content["balances"]:
                asset, total = row["asset"], Decimal(row["total"])
                sums[asset] += total
                if total != expected.pop((account, asset), Decimal(0)):
                    self._note(f"account {account} has {total} {asset}, not what follows")
                if account > _FEES + 1 and Decimal(row["available"]) < 0:
                    self._note(f"account {account} has less than nothing: {row}")
        self.contradictions += [
            f"{asset} sums to {total}" for asset, total in sums.items() if total
        ]
        missing = [f"{key} lacks {amount}" for key, amount in expected.items() if amount]
        self.contradictions += missing

    def _note(self, text: str) -> None:
        self.contradictions.append(text)


def _book_money(books: Books, call: Call) -> None:
    """Deposits come from clearing; transfers go from one to another."""
    if call.path.endswith("/deposits"):
        form = msgspec.json.decode(call.body)
        source, target = CLEARING, form["account"]
    elif call.path.endswith("/transfers"):
        form = msgspec.json.decode(call.body)
        source, target = form["account"], form["to_account"]
    else:
        return
    books[source, form["asset"]] -= Decimal(form["amount"])
    books[target, form["asset"]] += Decimal(form["amount"])


def _book_order(books: Books, account: int, order: dict[str, Any]) -> None:
    """What an order's fills moved; fees and rebates go to and come from the house."""
    base, quote = order["instrument"].split("-")
    sign = 1 if order["side"] == "buy" else -1
    books[account, base] += sign * Decimal(order["filled"])
    books[account, quote] -= sign * Decimal(order["notional"])
    books[account, order["fee_asset"]] -= Decimal(order["fee"])
    books[_FEES, order["fee_asset"]] += Decimal(order["fee"])
    books[account, order["rebate_asset"]] += Decimal(order["rebate"])
    books[_FEES, order["rebate_asset"]] -= Decimal(order["rebate"])


def verify(environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """`outcry verify --json` on the settings of `environ`."""
    return subprocess.run(
        outcry("verify", "--json"), env=environ, capture_output=True, check=False, timeout=300
    )
