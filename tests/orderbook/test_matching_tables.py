"""The rules of the order book, one table per rule."""

import msgspec
import pytest

from engine.errors import InvariantViolated
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import CancelReason, OrderKind, PlaceOrder, Trade
from engine.units import (
    INT64_MAX,
    AccountId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from tests.orderbook.tables import INSTRUMENT, check, order_id


def test_better_price_trades_first_and_equal_prices_trade_in_arrival_order() -> None:
    check("""
        place s1 sell 5 @ 101  -> rested s1 5 @ 101
        place s2 sell 5 @ 100  -> rested s2 5 @ 100
        place s3 sell 5 @ 100  -> rested s3 5 @ 100
        place b1 buy 12 @ 101  -> trade s2/b1 5 @ 100, trade s3/b1 5 @ 100, trade s1/b1 2 @ 101
        cancel s1              -> cancelled s1 3 @ 101 REQUESTED
        cancel s1              -> refused UNKNOWN_ORDER
    """)


def test_sells_meet_the_highest_bid_first_at_the_bids_price() -> None:
    check("""
        place b1 buy 5 @ 99   -> rested b1 5 @ 99
        place b2 buy 5 @ 100  -> rested b2 5 @ 100
        place s1 sell 7 @ 98  -> trade b2/s1 5 @ 100, trade b1/s1 2 @ 99
    """)


def test_a_limit_order_stops_at_its_own_price_and_its_remainder_is_the_new_touch() -> None:
    book = check("""
        place s1 sell 5 @ 100  -> rested s1 5 @ 100
        place s2 sell 5 @ 102  -> rested s2 5 @ 102
        place b1 buy 9 @ 101   -> trade s1/b1 5 @ 100, rested b1 4 @ 101
        place b2 buy 1 @ 99    -> rested b2 1 @ 99
    """)
    assert (book.best_bid, book.best_ask) == (101, 102)


def test_cancelling_head_or_middle_of_a_level_keeps_the_others_in_order() -> None:
    check("""
        place s1 sell 1 @ 100  -> rested s1 1 @ 100
        place s2 sell 1 @ 100  -> rested s2 1 @ 100
        place s3 sell 1 @ 100  -> rested s3 1 @ 100
        place s4 sell 1 @ 100  -> rested s4 1 @ 100
        cancel s1              -> cancelled s1 1 @ 100 REQUESTED
        cancel s3              -> cancelled s3 1 @ 100 REQUESTED
        place b1 buy 2 @ 100   -> trade s2/b1 1 @ 100, trade s4/b1 1 @ 100
    """)


def test_no_phantom_level_is_left_after_a_cancel_or_a_fill() -> None:
    book = check("""
        place s1 sell 1 @ 100  -> rested s1 1 @ 100
        place s2 sell 1 @ 101  -> rested s2 1 @ 101
        cancel s1              -> cancelled s1 1 @ 100 REQUESTED
        place b1 buy 1 @ 100   -> rested b1 1 @ 100
        place s3 sell 1 @ 100  -> trade b1/s3 1 @ 100
        place b2 buy 1 @ 100   -> rested b2 1 @ 100
    """)
    assert book.depth(10) == ([(100, 1)], [(101, 1)])


def test_filled_orders_can_be_neither_cancelled_nor_replaced() -> None:
    check("""
        place s1 sell 5 @ 100  -> rested s1 5 @ 100
        place b1 buy 5 @ 100   -> trade s1/b1 5 @ 100
        cancel s1              -> refused UNKNOWN_ORDER
        cancel b1              -> refused UNKNOWN_ORDER
        replace s1 9 @ 100     -> refused UNKNOWN_ORDER
        replace b1 9 @ 100     -> refused UNKNOWN_ORDER
    """)


def test_only_the_owner_can_cancel_or_replace() -> None:
    check("""
        place s1 sell 5 @ 100 by ann -> rested s1 5 @ 100
        cancel s1 by bob             -> refused UNKNOWN_ORDER
        replace s1 4 @ 100 by bob    -> refused UNKNOWN_ORDER
        cancel s1 by ann             -> cancelled s1 5 @ 100 REQUESTED
    """)


def test_ioc_order_cancels_what_it_cannot_trade() -> None:
    check("""
        place s1 sell 5 @ 100      -> rested s1 5 @ 100
        place b1 buy 8 @ 100 ioc   -> trade s1/b1 5 @ 100, ended b1 3 @ 100 IOC_REMAINDER
        place b2 buy 8 @ 100 ioc   -> ended b2 8 @ 100 IOC_REMAINDER
    """)


def test_fok_order_looks_at_every_level_and_trades_whole_or_not_at_all() -> None:
    check("""
        place s1 sell 5 @ 100      -> rested s1 5 @ 100
        place s2 sell 5 @ 101      -> rested s2 5 @ 101
        place b1 buy 10 @ 100 fok  -> refused NOT_FILLABLE
        place b2 buy 11 @ 101 fok  -> refused NOT_FILLABLE
        place b3 buy 10 @ 101 fok  -> trade s1/b3 5 @ 100, trade s2/b3 5 @ 101
        place b4 buy 1 @ 101 fok   -> refused NOT_FILLABLE
    """)


def test_fok_order_counts_neither_expired_makers_nor_its_own() -> None:
    check("""
        place s1 sell 5 @ 100 until 10                          -> rested s1 5 @ 100
        place s2 sell 5 @ 100 by ann                            -> rested s2 5 @ 100
        place s3 sell 5 @ 100                                   -> rested s3 5 @ 100
        now 10                                                  ->
        place b1 buy 10 @ 100 fok                               -> cancelled s1 5 @ 100 EXPIRED, trade s2/b1 5 @ 100, trade s3/b1 5 @ 100
        place s4 sell 5 @ 100 by ann                            -> rested s4 5 @ 100
        place s5 sell 5 @ 100                                   -> rested s5 5 @ 100
        place b2 buy 5 @ 100 by ann fok                         -> refused NOT_FILLABLE
        place b3 buy 6 @ 100 by ann fok self-trade decrement    -> refused NOT_FILLABLE
        place b4 buy 5 @ 100 by ann fok self-trade cancel-maker -> prevented s4/b4 0 @ 100, cancelled s4 5 @ 100 SELF_TRADE, trade s5/b4 5 @ 100
    """)  # noqa: E501


def test_fok_order_beyond_the_makers_it_may_touch_is_refused() -> None:
    check(
        """
        place s1 sell 1 @ 100      -> rested s1 1 @ 100
        place s2 sell 1 @ 100      -> rested s2 1 @ 100
        place s3 sell 1 @ 100      -> rested s3 1 @ 100
        place b1 buy 3 @ 100 fok   -> refused NOT_FILLABLE
        place b2 buy 2 @ 100 fok   -> trade s1/b2 1 @ 100, trade s2/b2 1 @ 100
        """,
        makers_touched_max=2,
    )


def test_minimum_quantity_trades_at_once_or_the_order_is_refused() -> None:
    check("""
        place s1 sell 5 @ 100        -> rested s1 5 @ 100
        place b1 buy 8 @ 100 min 6   -> refused NOT_FILLABLE
        place b2 buy 8 @ 99 min 1    -> refused NOT_FILLABLE
        place b3 buy 8 @ 100 min 5   -> trade s1/b3 5 @ 100, rested b3 3 @ 100
        place b4 buy 8 @ 100 min 9   -> refused INVALID_COMBINATION
        place b5 buy 8 @ 100 min -1  -> refused INVALID_VALUE
    """)


def test_post_only_order_rests_or_is_refused() -> None:
    check("""
        place s1 sell 5 @ 100            -> rested s1 5 @ 100
        place b1 buy 5 @ 100 post-only   -> refused POST_ONLY_WOULD_TRADE
        place b2 buy 5 @ 99 post-only    -> rested b2 5 @ 99
        replace b2 5 @ 100               -> refused POST_ONLY_WOULD_TRADE
        replace b2 6 @ 99                -> replaced b2 5 @ 99 by 6 @ 99 back, rested b2 6 @ 99
    """)


def test_post_only_order_clears_expired_makers_and_rests() -> None:
    check(
        """
        place s1 sell 5 @ 99 until 10     -> rested s1 5 @ 99
        place s2 sell 5 @ 100 until 10    -> rested s2 5 @ 100
        now 10                            ->
        place b1 buy 5 @ 99 post-only     -> cancelled s1 5 @ 99 EXPIRED, rested b1 5 @ 99
        place s3 sell 5 @ 100 until 20    -> rested s3 5 @ 100
        now 20                            ->
        place b2 buy 5 @ 100 post-only    -> cancelled s2 5 @ 100 EXPIRED, ended b2 5 @ 100 MAKERS_TOUCHED_MAX
        """,  # noqa: E501
        makers_touched_max=1,
    )


def test_gtd_order_never_trades_at_or_past_its_deadline() -> None:
    book = check("""
        place s1 sell 5 @ 100 until 10  -> rested s1 5 @ 100
        now 9                           ->
        place b1 buy 1 @ 100            -> trade s1/b1 1 @ 100
        now 10                          ->
        replace s1 9 @ 100              -> refused UNKNOWN_ORDER
        place b2 buy 1 @ 100            -> cancelled s1 4 @ 100 EXPIRED, rested b2 1 @ 100
        place s2 sell 5 @ 99 until 10   -> refused ALREADY_EXPIRED
        place s3 sell 5 @ 101 until 11  -> rested s3 5 @ 101
        place s4 sell 5 @ 101 until 12  -> rested s4 5 @ 101
        expire 9                        ->
        now 12                          ->
        expire 1                        -> cancelled s3 5 @ 101 EXPIRED
        place s5 sell 5 @ 102 until 99  -> rested s5 5 @ 102
        expire 9                        -> cancelled s4 5 @ 101 EXPIRED
    """)
    assert book.next_expiry_ns == 99


def test_market_order_trades_within_its_protection_and_never_rests() -> None:
    check("""
        place b0 buy 5 @ 101 market   -> refused NO_LIQUIDITY
        place s1 sell 5 @ 100         -> rested s1 5 @ 100
        place s2 sell 5 @ 102         -> rested s2 5 @ 102
        place b1 buy 5 @ 99 market    -> refused NO_LIQUIDITY
        place b2 buy 9 @ 101 market   -> trade s1/b2 5 @ 100, ended b2 4 @ 101 MARKET_REMAINDER
        place b3 buy 9 @ 102 market fok -> refused NOT_FILLABLE
        place b4 buy 5 @ 102 market fok -> trade s2/b4 5 @ 102
    """)


def test_market_order_that_meets_only_expired_makers_changes_nothing() -> None:
    check("""
        place s1 sell 5 @ 100 until 10  -> rested s1 5 @ 100
        now 10                          ->
        place b1 buy 5 @ 100 market     -> refused NO_LIQUIDITY
        expire 1                        -> cancelled s1 5 @ 100 EXPIRED
    """)


def test_market_buy_spends_its_budget_level_by_level() -> None:
    check("""
        place s1 sell 5 @ 100                 -> rested s1 5 @ 100
        place s2 sell 5 @ 110                 -> rested s2 5 @ 110
        place b1 buy budget 720 @ 110 market  -> trade s1/b1 5 @ 100, trade s2/b1 2 @ 110
        place b2 buy budget 125 @ 110 market  -> trade s2/b2 1 @ 110, ended b2 0 @ 110 BUDGET_SPENT
        place b3 buy budget 99 @ 110 market   -> ended b3 0 @ 110 BUDGET_SPENT
        place b4 buy budget 999 @ 110 market  -> trade s2/b4 2 @ 110, ended b4 0 @ 110 MARKET_REMAINDER
    """)  # noqa: E501


def test_a_budget_counts_in_minor_units_of_the_quote() -> None:
    check(
        """
        place s1 sell 5 @ 100                  -> rested s1 5 @ 100
        place b1 buy budget 1400 @ 110 market  -> trade s1/b1 2 @ 100
        place b2 buy budget 705 @ 110 market   -> trade s1/b2 1 @ 100, ended b2 0 @ 110 BUDGET_SPENT
        place b3 buy budget 699 @ 110 market   -> ended b3 0 @ 110 BUDGET_SPENT
        """,
        tick_lot_minor=7,
    )


def test_self_trade_modes_do_what_they_say() -> None:
    check("""
        place s1 sell 5 @ 100 by ann                              -> rested s1 5 @ 100
        place b1 buy 3 @ 100 by ann self-trade none               -> trade s1/b1 3 @ 100
        place b2 buy 3 @ 100 by ann                               -> prevented s1/b2 0 @ 100, ended b2 3 @ 100 SELF_TRADE
        place b3 buy 3 @ 100 by ann self-trade decrement          -> prevented s1/b3 2 @ 100, rested b3 1 @ 100
        place s2 sell 2 @ 100 by ann self-trade cancel-both       -> prevented b3/s2 0 @ 100, cancelled b3 1 @ 100 SELF_TRADE, ended s2 2 @ 100 SELF_TRADE
        place b4 buy 3 @ 100 by ann                               -> rested b4 3 @ 100
        place s3 sell 2 @ 100 by ann self-trade cancel-maker      -> prevented b4/s3 0 @ 100, cancelled b4 3 @ 100 SELF_TRADE, rested s3 2 @ 100
        place b5 buy 2 @ 100 by ann self-trade decrement          -> prevented s3/b5 2 @ 100
        cancel s3                                                 -> refused UNKNOWN_ORDER
    """)  # noqa: E501


def test_decrement_against_a_budget_costs_the_budget_too() -> None:
    check("""
        place s1 sell 9 @ 100 by ann                                       -> rested s1 9 @ 100
        place b1 buy budget 250 @ 100 market by ann self-trade decrement   -> prevented s1/b1 2 @ 100, ended b1 0 @ 100 BUDGET_SPENT
        cancel s1                                                          -> cancelled s1 7 @ 100 REQUESTED
    """)  # noqa: E501


def test_what_is_left_after_too_many_makers_is_cancelled_and_does_not_cross() -> None:
    check(
        """
        place s1 sell 1 @ 100                 -> rested s1 1 @ 100
        place s2 sell 1 @ 100 until 10        -> rested s2 1 @ 100
        place s3 sell 1 @ 100 by ann          -> rested s3 1 @ 100
        place s4 sell 1 @ 100                 -> rested s4 1 @ 100
        now 10                                ->
        place b1 buy 9 @ 100 by ann self-trade cancel-maker -> trade s1/b1 1 @ 100, cancelled s2 1 @ 100 EXPIRED, prevented s3/b1 0 @ 100, cancelled s3 1 @ 100 SELF_TRADE, ended b1 8 @ 100 MAKERS_TOUCHED_MAX
        place b2 buy 9 @ 100                  -> trade s4/b2 1 @ 100, rested b2 8 @ 100
        """,  # noqa: E501
        makers_touched_max=3,
    )


def test_pure_reduction_keeps_priority_and_everything_else_loses_it() -> None:
    check("""
        place s1 sell 5 @ 100  -> rested s1 5 @ 100
        place s2 sell 5 @ 100  -> rested s2 5 @ 100
        replace s1 4 @ 100     -> replaced s1 5 @ 100 by 4 @ 100 kept
        place b1 buy 1 @ 100   -> trade s1/b1 1 @ 100
        replace s1 2 @ 100     -> replaced s1 3 @ 100 by 1 @ 100 kept
        replace s1 3 @ 100     -> replaced s1 1 @ 100 by 2 @ 100 back, rested s1 2 @ 100
        place b2 buy 6 @ 100   -> trade s2/b2 5 @ 100, trade s1/b2 1 @ 100
    """)


def test_what_has_filled_counts_against_a_replaced_quantity() -> None:
    check("""
        place s1 sell 5 @ 100  -> rested s1 5 @ 100
        place b1 buy 2 @ 100   -> trade s1/b1 2 @ 100
        replace s1 2 @ 101     -> refused QUANTITY_ALREADY_FILLED
        replace s1 5 @ 100     -> refused NOTHING_TO_REPLACE
        replace s1 0 @ 100     -> refused QUANTITY_TOO_SMALL
        replace s1 3 @ 101     -> replaced s1 3 @ 100 by 1 @ 101 back, rested s1 1 @ 101
    """)


def test_replace_through_the_spread_trades_at_the_makers_price_and_leaves_siblings_alone() -> None:
    check("""
        place s1 sell 5 @ 100  -> rested s1 5 @ 100
        place b1 buy 5 @ 98    -> rested b1 5 @ 98
        place b2 buy 3 @ 98    -> rested b2 3 @ 98
        place b3 buy 5 @ 98    -> rested b3 5 @ 98
        replace b2 7 @ 102     -> replaced b2 3 @ 98 by 7 @ 102 back, trade s1/b2 5 @ 100, rested b2 2 @ 102
        place s2 sell 9 @ 98   -> trade b2/s2 2 @ 102, trade b1/s2 5 @ 98, trade b3/s2 2 @ 98
        replace b2 9 @ 98      -> refused UNKNOWN_ORDER
    """)  # noqa: E501


def test_a_replaced_order_keeps_its_deadline_and_its_self_trade_mode() -> None:
    check("""
        place b1 buy 5 @ 98 by ann until 10 self-trade decrement -> rested b1 5 @ 98
        place s1 sell 3 @ 100 by ann                             -> rested s1 3 @ 100
        replace b1 6 @ 100                                       -> replaced b1 5 @ 98 by 6 @ 100 back, prevented s1/b1 3 @ 100, rested b1 3 @ 100
        now 10                                                   ->
        expire 5                                                 -> cancelled b1 3 @ 100 EXPIRED
    """)  # noqa: E501


def test_prices_beyond_the_band_are_refused_and_market_orders_are_clipped_to_it() -> None:
    check(
        """
        place b1 buy 1 @ 106             -> refused PRICE_OUT_OF_BAND
        place b2 buy 1 @ 50              -> rested b2 1 @ 50
        place s1 sell 1 @ 94             -> refused PRICE_OUT_OF_BAND
        place s2 sell 1 @ 105            -> rested s2 1 @ 105
        place s3 sell 1 @ 106            -> rested s3 1 @ 106
        place b3 buy 2 @ 200 market      -> trade s2/b3 1 @ 105, ended b3 1 @ 200 MARKET_REMAINDER
        place s4 sell 1 @ 1 market       -> refused NO_LIQUIDITY
        replace b2 1 @ 111               -> refused PRICE_OUT_OF_BAND
        replace b2 1 @ 110               -> replaced b2 1 @ 50 by 1 @ 110 back, trade s3/b2 1 @ 106
        """,
        band_ppm=50_000,
        reference_price_ticks=100,
    )


def test_limits_on_price_quantity_and_notional_are_kept() -> None:
    check(
        """
        place a buy 1 @ 100            -> refused QUANTITY_TOO_SMALL
        place b buy 11 @ 100           -> refused QUANTITY_TOO_LARGE
        place c buy 2 @ 99             -> refused NOTIONAL_TOO_SMALL
        place d buy 10 @ 101           -> refused NOTIONAL_TOO_LARGE
        place e buy 5 @ 0              -> refused PRICE_NOT_POSITIVE
        place f buy 0 @ 100            -> refused QUANTITY_TOO_SMALL
        place g buy -3 @ 100           -> refused QUANTITY_TOO_SMALL
        place h buy budget 199 @ 100 market  -> refused NOTIONAL_TOO_SMALL
        place i buy budget 1001 @ 100 market -> refused NOTIONAL_TOO_LARGE
        place j buy 5 @ 100            -> rested j 5 @ 100
        place k sell 2 @ 1 market      -> trade j/k 2 @ 100
        replace j 4 @ 10               -> refused NOTIONAL_TOO_SMALL
        """,
        minimum_lots=2,
        maximum_lots=10,
        minimum_notional_minor=200,
        maximum_notional_minor=1_000,
        reference_price_ticks=100,
    )


def test_numbers_beyond_63_bits_are_refused() -> None:
    beyond, half = INT64_MAX + 1, INT64_MAX // 2 + 1
    check(f"""
        place a buy 1 @ {beyond}         -> refused PRICE_TOO_LARGE
        place b buy {beyond} @ 1         -> refused QUANTITY_TOO_LARGE
        place c buy 2 @ {half}           -> refused NOTIONAL_TOO_LARGE
        place d buy 1 @ {INT64_MAX}      -> rested d 1 @ {INT64_MAX}
        place e sell {INT64_MAX} @ 1     -> trade d/e 1 @ {INT64_MAX}, rested e {INT64_MAX - 1} @ 1
        place f buy 1 @ 1 until {beyond} -> refused INVALID_VALUE
        place g buy budget {beyond} @ 1 market -> refused NOTIONAL_TOO_LARGE
    """)


def test_contradictory_orders_are_refused() -> None:
    check("""
        place s sell 9 @ 100                      -> rested s 9 @ 100
        place a buy 5 @ 99 post-only ioc          -> refused INVALID_COMBINATION
        place b buy 5 @ 99 post-only fok          -> refused INVALID_COMBINATION
        place c buy 5 @ 99 post-only market       -> refused INVALID_COMBINATION
        place d buy 5 @ 99 post-only min 2        -> refused INVALID_COMBINATION
        place e buy 5 @ 99 gtd                    -> refused INVALID_COMBINATION
        place f buy 5 @ 99 deadline 50            -> refused INVALID_COMBINATION
        place g buy 5 @ 99 market until 50        -> refused INVALID_COMBINATION
        place h buy budget 500 @ 100              -> refused BUDGET_NOT_ALLOWED
        place i sell budget 500 @ 100 market      -> refused BUDGET_NOT_ALLOWED
        place j buy budget 500 @ 100 market fok   -> refused BUDGET_NOT_ALLOWED
        place k buy 5 @ 100 market plus-budget 9  -> refused INVALID_COMBINATION
        place l buy budget 500 @ 100 market min 1 -> refused INVALID_COMBINATION
        place m buy budget -5 @ 100 market        -> refused INVALID_VALUE
        place n buy budget 500 @ 0 market         -> refused PRICE_NOT_POSITIVE
        place o buy 2 @ 100 market ioc            -> trade s/o 2 @ 100
    """)


def test_states_other_than_open_accept_only_cancels_and_closed_is_final() -> None:
    check("""
        place s1 sell 5 @ 100  -> rested s1 5 @ 100
        place s2 sell 5 @ 100  -> rested s2 5 @ 100
        place s3 sell 5 @ 100  -> rested s3 5 @ 100
        state cancel_only      -> cancel_only
        place b1 buy 5 @ 100   -> refused INSTRUMENT_NOT_OPEN
        replace s1 4 @ 100     -> refused INSTRUMENT_NOT_OPEN
        cancel s1              -> cancelled s1 5 @ 100 REQUESTED
        state halted           -> halted
        place b2 buy 5 @ 100   -> refused INSTRUMENT_NOT_OPEN
        cancel s2              -> cancelled s2 5 @ 100 REQUESTED
        state open             -> open
        place b3 buy 1 @ 100   -> trade s3/b3 1 @ 100
        state closed           -> closed
        state open             -> refused INSTRUMENT_NOT_OPEN
        place b4 buy 5 @ 100   -> refused INSTRUMENT_NOT_OPEN
        state closed           -> closed
        cancel s3              -> cancelled s3 4 @ 100 REQUESTED
    """)


def test_mass_cancel_goes_in_chunks_within_its_scope() -> None:
    check("""
        place b1 buy 1 @ 97 by ann       -> rested b1 1 @ 97
        place b2 buy 1 @ 99 by bob       -> rested b2 1 @ 99
        place s1 sell 1 @ 101 by ann     -> rested s1 1 @ 101
        place b3 buy 1 @ 99 by ann       -> rested b3 1 @ 99
        place b4 buy 1 @ 98 by ann       -> rested b4 1 @ 98
        replace b1 2 @ 98                -> replaced b1 1 @ 97 by 2 @ 98 back, rested b1 2 @ 98
        cancel-resting 2 by ann before b3 -> cancelled b1 2 @ 98 CANCEL_ALL, cancelled s1 1 @ 101 CANCEL_ALL
        cancel-resting 2 by ann before b3 ->
        cancel-resting 1 before b3       -> cancelled b2 1 @ 99 CANCEL_ALL
        place s2 sell 1 @ 102 by cid     -> rested s2 1 @ 102
        cancel-resting 2                 -> cancelled b3 1 @ 99 CANCEL_ALL, cancelled b4 1 @ 98 CANCEL_ALL
        cancel-resting 2                 -> cancelled s2 1 @ 102 CANCEL_ALL
        cancel-resting 2                 ->
    """)  # noqa: E501


def test_an_order_that_enters_late_under_an_older_id_is_cancelled_in_order_of_ids() -> None:
    book = OrderBook(INSTRUMENT)
    for number in (5, 9, 7, 2):
        book.place(order_id(number), _sell(101), TimeNs(0))
    events = book.cancel_resting(CancelReason.CANCEL_ALL, 10, account_id=AccountId(1))
    assert [event.order_id for event in events] == [2, 5, 7, 9]  # type: ignore[union-attr]


def test_an_id_can_return_after_its_order_has_ended() -> None:
    book = OrderBook(INSTRUMENT)
    for _ in range(3):
        book.place(order_id(1), _sell(101), TimeNs(0))
        book.cancel_resting(CancelReason.CANCEL_ALL, 1)
    book.place(order_id(1), _sell(101), TimeNs(0))
    with pytest.raises(InvariantViolated, match="order 1 rests already"):
        book.place(order_id(1), _sell(102), TimeNs(0))
    assert book.depth(9) == ([], [(101, 1)])


def test_a_command_for_another_instrument_is_a_contradiction() -> None:
    other = OrderBook(msgspec.structs.replace(INSTRUMENT, instrument_id=InstrumentId(2)))
    with pytest.raises(InvariantViolated, match="instrument 1 reached"):
        other.place(order_id(1), _sell(101), TimeNs(0))


@pytest.mark.slow
def test_five_thousand_fills_in_one_sweep_need_no_recursion() -> None:
    book = OrderBook(msgspec.structs.replace(INSTRUMENT, makers_touched_max=10_000))
    for number in range(1, 5_001):
        book.place(order_id(number), _sell(100 + number % 50), TimeNs(0))
    taker = PlaceOrder(
        AccountId(2),
        InstrumentId(1),
        Side.BUY,
        OrderKind.LIMIT,
        PriceTicks(200),
        QuantityLots(5_001),
    )
    events = book.place(order_id(9_999), taker, TimeNs(0))
    assert [type(event) for event in events[:-1]] == [Trade] * 5_000
    assert book.depth(9) == ([(200, 1)], [])
    book.check_invariants()


def test_the_last_trade_is_the_reference_price() -> None:
    book = check(
        """
        place s1 sell 1 @ 103  -> rested s1 1 @ 103
        place s2 sell 1 @ 104  -> rested s2 1 @ 104
        place b1 buy 2 @ 110   -> trade s1/b1 1 @ 103, trade s2/b1 1 @ 104
        """,
        reference_price_ticks=100,
    )
    assert book.reference_price_ticks == 104


def _sell(price: int) -> PlaceOrder:
    return PlaceOrder(
        AccountId(1),
        InstrumentId(1),
        Side.SELL,
        OrderKind.LIMIT,
        PriceTicks(price),
        QuantityLots(1),
    )
