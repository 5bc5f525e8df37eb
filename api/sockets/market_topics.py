"""Trades, ticker and candles of one instrument on the feed."""

from collections import deque
from typing import Final

from api.decimals import InstrumentText
from api.routes.tickers import ticker_answer
from api.sockets.codec import Frame
from api.sockets.feed_messages import (
    CandlesMessage,
    CandleText,
    TickerMessage,
    TradesSnapshot,
    TradesUpdate,
    TradeText,
)
from engine.marketdata.candles import Candle
from engine.marketdata.publications import (
    CandlesPublished,
    PublicTrade,
    TickerPublished,
    TradesPublished,
)

#: Trades of a snapshot, and of a message to whoever could not keep up.
TRADES_KEPT_MAX: Final = 100
#: More trades at once come in several messages.
TRADES_PER_MESSAGE_MAX: Final = 500
#: Of so many candles a slow reader hears how they ended.
CANDLES_KEPT_MAX: Final = 100
_SECOND_NS: Final = 1_000_000_000


class TradesTopic:
    """Every trade, in order. `update_id` counts them, and every fresh beginning as one."""

    def __init__(self, text: InstrumentText) -> None:
        self.update_id = 0
        self._text = text
        self._sequence = 0
        self._began_id = 0  # whoever has less begins anew
        self._recent: deque[TradeText] = deque(maxlen=TRADES_KEPT_MAX)
        self._frames: dict[int, Frame] = {}

    def apply(self, publication: TradesPublished) -> list[tuple[Frame, int]]:
        """The messages of a publication, each with its update id."""
        self._sequence = publication.sequence
        self._frames.clear()
        trades = [self._trade_text(trade) for trade in publication.trades]
        if publication.is_fresh or not self._began_id:
            self.update_id += 1
            self._began_id = self.update_id
            self._recent = deque(trades, TRADES_KEPT_MAX)
            return [(self._snapshot(), self.update_id)]
        messages = []
        for start in range(0, len(trades), TRADES_PER_MESSAGE_MAX):
            part = trades[start : start + TRADES_PER_MESSAGE_MAX]
            self.update_id += len(part)
            messages.append((self._update(part, 0), self.update_id))
        self._recent.extend(trades)
        return messages

    def since(self, last_id: int) -> Frame | None:
        """The newest trades after `last_id`, and how many before them are left out."""
        if not self._began_id:
            return None
        frame = self._frames.get(last_id)
        if frame is None:
            missed = self.update_id - last_id
            if last_id < self._began_id:
                frame = self._snapshot()
            else:
                newest = list(self._recent)[-missed:] if missed else []
                frame = self._update(newest, missed - len(newest))
            self._frames[last_id] = frame
        return frame

    def _snapshot(self) -> Frame:
        return Frame(
            TradesSnapshot(
                instrument=self._text.instrument.symbol,
                sequence=self._sequence,
                trades=list(self._recent),
            )
        )

    def _update(self, trades: list[TradeText], left_out: int) -> Frame:
        return Frame(
            TradesUpdate(
                instrument=self._text.instrument.symbol,
                sequence=self._sequence,
                trades=trades,
                left_out=left_out,
            )
        )

    def _trade_text(self, trade: PublicTrade) -> TradeText:
        return TradeText(
            f"{trade.sequence}-{trade.index}",
            trade.time_ns,
            self._text.price(trade.price_ticks),
            self._text.quantity(trade.quantity_lots),
            trade.taker_side.name.lower(),
        )


class TickerTopic:
    """The last 24 hours; only the newest counts."""

    def __init__(self, text: InstrumentText) -> None:
        self.update_id = 0
        self._text = text
        self._newest: Frame | None = None

    def apply(self, publication: TickerPublished) -> list[tuple[Frame, int]]:
        """The messages of a publication, each with its update id."""
        self.update_id += 1
        self._newest = Frame(ticker_answer(TickerMessage, publication.ticker, self._text))
        return [(self._newest, self.update_id)]

    def since(self, _last_id: int) -> Frame | None:
        """The newest one; None before there is any."""
        return self._newest


class CandlesTopic:
    """Candles of one interval, whole each time they change."""

    def __init__(self, text: InstrumentText, interval: str) -> None:
        self.update_id = 0
        self._text = text
        self._interval = interval
        self._sequence = 0
        #: By start: the id of the last update in which it changed, and how it is now.
        self._kept: dict[int, tuple[int, CandleText]] = {}
        self._frames: dict[int, Frame] = {}

    def apply(self, publication: CandlesPublished) -> list[tuple[Frame, int]]:
        """The messages of a publication, each with its update id."""
        self.update_id += 1
        self._sequence = publication.sequence
        self._frames.clear()
        for candle in publication.candles:
            self._kept[candle.start_s] = self.update_id, self._candle_text(candle)
        while len(self._kept) > CANDLES_KEPT_MAX:
            del self._kept[min(self._kept)]
        return [(self._changed_after(self.update_id - 1), self.update_id)]

    def since(self, last_id: int) -> Frame | None:
        """The candles that changed after `last_id`; None before there was a publication."""
        if not self.update_id:
            return None
        return self._changed_after(last_id)

    def _changed_after(self, last_id: int) -> Frame:
        frame = self._frames.get(last_id)
        if frame is None:
            changed = [text for _, (id_, text) in sorted(self._kept.items()) if id_ > last_id]
            message = CandlesMessage(
                instrument=self._text.instrument.symbol,
                sequence=self._sequence,
                interval=self._interval,
                candles=changed,
            )
            frame = self._frames[last_id] = Frame(message)
        return frame

    def _candle_text(self, candle: Candle) -> CandleText:
        price = self._text.price
        return CandleText(
            candle.start_s * _SECOND_NS,
            price(candle.open_ticks),
            price(candle.high_ticks),
            price(candle.low_ticks),
            price(candle.close_ticks),
            self._text.quantity(candle.volume_lots),
            self._text.notional(candle.tick_lots),
            candle.trades,
        )
