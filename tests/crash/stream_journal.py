"""What the journal says happened, for comparison with what streams have told."""

from collections import defaultdict
from decimal import Decimal
from typing import Any, Final

from engine.actors.recovery import blocks_after
from engine.journal.blocks import GENESIS_DIGEST, Head
from engine.journal.records import Record, decode
from engine.journal.released import Released
from engine.orderbook.messages import PlaceOrder, Trade
from engine.products.exchange.messages import PlaceConditional
from engine.storage.bridge import AsyncioThread
from engine.storage.postgres import PostgresJournalStore
from engine.units import InstrumentId, Side
from tests.crash.stream_feeds import ToldTrade
from tests.crash.stream_log import ToldFill

#: Of every instrument of these tests.
_TICK: Final = Decimal("0.01")
_LOT: Final = Decimal("0.0001")
_PLACES: Final = (PlaceOrder, PlaceConditional)

Levels = list[tuple[Decimal, Decimal]]


class JournalTruth:
    """Every trade, and whose it was, and the books as the last record left them."""

    def __init__(self) -> None:
        self.trades: dict[str, list[ToldTrade]] = defaultdict(list)
        self.fills: dict[int, list[ToldFill]] = defaultdict(list)
        self._accounts: dict[int, int] = {}
        self._sides: dict[int, Side] = {}
        self._released = Released()

    def take(self, record: Record) -> None:
        """The next record."""
        self._released.apply(record)
        command: Any = record.command
        if isinstance(command, _PLACES):
            self._accounts[record.sequence] = command.account_id
            self._sides[record.sequence] = command.side
        trades = [event for event in record.events if type(event) is Trade]
        for index, trade in enumerate(trades):
            self._take_trade(f"{record.sequence}-{index}", command.instrument_id, trade)

    def levels(self, symbol: str) -> tuple[Levels, Levels]:
        """Bids and asks of an instrument."""
        instrument = self._released.rules.directory.instruments_by_symbol[symbol]
        bids, asks = self._released.depth(instrument.instrument_id).levels(1_000_000)
        return (
            [(price * _TICK, lots * _LOT) for price, lots in bids],
            [(price * _TICK, lots * _LOT) for price, lots in asks],
        )

    def _take_trade(self, name: str, instrument_id: InstrumentId, trade: Trade) -> None:
        instrument = self._released.rules.directory.instruments[instrument_id]
        price = str(trade.price_ticks * _TICK)
        quantity = str(trade.quantity_lots * _LOT)
        taker_side = trade.taker_side.name.lower()
        self.trades[instrument.symbol].append(ToldTrade(name, price, quantity, taker_side))
        halves = ((trade.maker_order_id, "maker"), (trade.taker_order_id, "taker"))
        for order_id, liquidity in halves:
            side = self._sides[order_id].name.lower()
            fill = ToldFill(name, str(order_id), side, price, quantity, liquidity)
            self.fills[self._accounts[order_id]].append(fill)


async def journal_truth(dsn: str) -> JournalTruth:
    """Read all of it. Waits for the store."""
    truth = JournalTruth()
    async with AsyncioThread() as bridge:
        store = PostgresJournalStore(bridge, dsn)
        async for block in blocks_after(store, Head(0, 0, 0, GENESIS_DIGEST)):
            for record in decode(block.payload):
                truth.take(record)
        await store.aclose()
    return truth
