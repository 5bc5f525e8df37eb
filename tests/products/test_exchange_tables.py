"""What each kind of order holds, pays and leaves behind, one table per rule."""

from engine.accounts.messages import SetFees, SetTier
from tests.products.exchange_tables import check
from tests.products.line import ANN, BASE, BOB, HERE, QUOTE, Line

A_TENTH, A_FIFTH = 100_000, 200_000


def test_a_limit_order_holds_what_is_left_of_it_at_its_limit() -> None:
    check("""
        sell s1 5 @ 50 by bob  -> rested; s1 holds 15
        buy b1 3 @ 60          -> trade s1 3 @ 50; s1 holds 6
        buy b2 4 @ 55          -> trade s1 2 @ 50, rested; b2 holds 2310
        cancel b2              -> b2 cancelled 2 REQUESTED; nothing held
    """)


def test_a_better_price_is_free_again_at_once() -> None:
    line = check("""
        sell s1 3 @ 50 by bob  -> rested; s1 holds 9
        buy b1 3 @ 90          -> trade s1 3 @ 50; nothing held
    """)
    assert line.balance(ANN, QUOTE) == (100_000 - 3 * 50 * 21, 0)
    assert line.balance(BOB, QUOTE) == (100_000 + 3 * 50 * 21, 0)
    assert line.balance(ANN, BASE) == (100_000 + 9, 0)


def test_market_ioc_and_fok_orders_leave_nothing_held() -> None:
    check("""
        sell s1 5 @ 50 by bob     -> rested; s1 holds 15
        buy m1 2 @ 60 market      -> trade s1 2 @ 50; s1 holds 9
        buy i1 1 @ 49 ioc         -> i1 cancelled 1 IOC_REMAINDER; s1 holds 9
        buy f1 9 @ 50 fok         -> NOT_FILLABLE; s1 holds 9
        buy f2 1 @ 50 fok         -> trade s1 1 @ 50; s1 holds 6
        buy p1 1 @ 50 post-only   -> POST_ONLY_WOULD_TRADE; s1 holds 6
        buy i2 9 @ 50 ioc         -> trade s1 2 @ 50, i2 cancelled 7 IOC_REMAINDER; nothing held
        buy m2 1 @ 60 market      -> NO_LIQUIDITY; nothing held
    """)


def test_a_budget_is_spent_to_the_last_whole_lot_and_the_rest_is_free() -> None:
    line = check("""
        sell s1 9 @ 10 by bob             -> rested; s1 holds 27
        buy b1 budget 420 @ 20 market     -> trade s1 2 @ 10; s1 holds 21
        buy b2 budget 700 @ 20 market     -> trade s1 3 @ 10, b2 cancelled 0 BUDGET_SPENT; s1 holds 12
        buy b3 budget 4000 @ 20 market    -> trade s1 4 @ 10, b3 cancelled 0 MARKET_REMAINDER; nothing held
    """)  # noqa: E501
    assert line.balance(ANN, QUOTE) == (100_000 - 9 * 10 * 21, 0)
    assert [line.order(n).status for n in (15, 16, 17)] == ["FILLED", "FILLED", "CANCELLED"]


def test_a_budget_that_meets_its_own_order_first_still_buys_from_others() -> None:
    line = check("""
        sell s1 5 @ 10                                           -> rested; s1 holds 15
        sell s2 5 @ 10 by bob                                    -> rested; s1 holds 15, s2 holds 15
        buy b1 budget 2100 @ 12 market self-trade DECREMENT      -> prevented 5, trade s2 5 @ 10; nothing held
    """)  # noqa: E501
    assert (line.order(16).filled_lots, line.order(16).status) == (5, "FILLED")


def test_a_deadline_frees_the_hold_when_it_comes() -> None:
    check("""
        buy b1 2 @ 50 until 2000  -> rested; b1 holds 2100
        wake 1999                 -> nothing; b1 holds 2100
        wake 2000                 -> b1 cancelled 2 EXPIRED; nothing held
        buy b2 2 @ 50 until 2000  -> ALREADY_EXPIRED; nothing held
    """)


def test_fees_are_taken_from_what_each_side_receives() -> None:
    line = check(
        """
        sell s1 5 @ 50 by bob  -> rested; s1 holds 15
        buy b1 5 @ 50          -> trade s1 5 @ 50, fees 525 3; nothing held
        """,
        Line(maker_ppm=A_TENTH, taker_ppm=A_FIFTH),
    )
    assert line.balance(BOB, QUOTE) == (100_000 + 5_250 - 525, 0)
    assert line.balance(ANN, BASE) == (100_000 + 15 - 3, 0)


def test_fills_pay_together_the_fee_of_the_whole_rounded_up_once() -> None:
    line = check(
        """
        sell s1 9 @ 1 by bob   -> rested; s1 holds 27
        buy b1 1 @ 1           -> trade s1 1 @ 1, fees 3 1; s1 holds 24
        buy b2 1 @ 1           -> trade s1 1 @ 1, fees 2 1; s1 holds 21
        buy b3 1 @ 1           -> trade s1 1 @ 1, fees 2 1; s1 holds 18
        buy b4 6 @ 1           -> trade s1 6 @ 1, fees 12 4; nothing held
        """,
        Line(maker_ppm=A_TENTH, taker_ppm=A_FIFTH),
    )
    assert line.order(15).charged_minor == 19  # a tenth of 189, rounded up


def test_an_order_that_takes_and_then_makes_has_one_meter_at_two_rates() -> None:
    line = check(
        """
        sell s1 1 @ 1 by bob   -> rested; s1 holds 3
        buy b1 2 @ 1           -> trade s1 1 @ 1, fees 3 1, rested; b1 holds 21
        sell s2 1 @ 1 by bob   -> trade b1 1 @ 1, fees 0 5; nothing held
        """,
        Line(maker_ppm=A_TENTH, taker_ppm=A_FIFTH),
    )
    assert line.order(16).charged_minor == 1  # 0.6 of its taking and 0.3 of its making


def test_a_rebate_is_paid_out_of_the_takers_fee_and_never_exceeds_it() -> None:
    line = check(
        """
        sell s1 9 @ 10 by bob  -> rested; s1 holds 27
        buy b1 9 @ 10          -> trade s1 9 @ 10, fees -5 6; nothing held
        """,
        Line(maker_ppm=-200_000, taker_ppm=200_000),
    )
    assert line.balance(BOB, BASE) == (100_000 - 27 + 5, 0)
    assert line.order(15).rebate_minor == 5


def test_a_maker_gets_no_rebate_from_a_taker_who_pays_no_fee() -> None:
    line = Line(maker_ppm=-200_000, taker_ppm=200_000)
    line.submit(SetFees("vip", HERE, 0, 0))
    line.submit(SetTier(ANN, "vip"))
    check(
        """
        sell s1 9 @ 10 by bob  -> rested; s1 holds 27
        buy b1 9 @ 10          -> trade s1 9 @ 10; nothing held
        """,
        line,
    )


def test_trading_with_oneself_moves_nothing_but_the_fee() -> None:
    line = check(
        """
        sell s1 5 @ 10                          -> rested; s1 holds 15
        buy b1 5 @ 10 self-trade NONE           -> trade s1 5 @ 10, fees 105 3; nothing held
        """,
        Line(maker_ppm=A_TENTH, taker_ppm=A_FIFTH),
    )
    assert line.balance(ANN, QUOTE) == (100_000 - 105, 0)
    assert line.balance(ANN, BASE) == (100_000 - 3, 0)


def test_prevented_trades_free_what_both_orders_lost() -> None:
    check("""
        sell s1 5 @ 50                              -> rested; s1 holds 15
        buy b1 2 @ 50                               -> prevented 0, b1 cancelled 2 SELF_TRADE; s1 holds 15
        buy b2 2 @ 50 self-trade DECREMENT          -> prevented 2; s1 holds 9
        buy b3 1 @ 50 self-trade CANCEL_BOTH        -> prevented 0, s1 cancelled 3 SELF_TRADE, b3 cancelled 1 SELF_TRADE; nothing held
        sell s2 5 @ 50                              -> rested; s2 holds 15
        buy b4 1 @ 50 self-trade CANCEL_MAKER       -> prevented 0, s2 cancelled 5 SELF_TRADE, rested; b4 holds 1050
    """)  # noqa: E501


def test_a_replace_holds_the_new_terms() -> None:
    check("""
        buy b1 4 @ 50          -> rested; b1 holds 4200
        replace b1 4 @ 60      -> replaced, rested; b1 holds 5040
        replace b1 9 @ 60      -> replaced, rested; b1 holds 11340
        replace b1 2 @ 60      -> replaced; b1 holds 2520
        replace b1 2 @ 10      -> replaced, rested; b1 holds 420
        replace b1 2 @ 10      -> NOTHING_TO_REPLACE; b1 holds 420
    """)


def test_a_replace_that_crosses_trades_and_holds_the_rest() -> None:
    check("""
        sell s1 3 @ 55 by bob  -> rested; s1 holds 9
        buy b1 5 @ 50          -> rested; s1 holds 9, b1 holds 5250
        replace b1 5 @ 60      -> replaced, trade s1 3 @ 55, rested; b1 holds 2520
        replace b1 3 @ 60      -> QUANTITY_ALREADY_FILLED; b1 holds 2520
        replace b1 4 @ 60      -> replaced; b1 holds 1260
    """)


def test_after_a_prevented_trade_a_replace_counts_what_was_lost() -> None:
    line = check("""
        sell s1 9 @ 50                              -> rested; s1 holds 27
        buy b1 2 @ 50 self-trade DECREMENT          -> prevented 2; s1 holds 21
        replace s1 8 @ 50                           -> replaced; s1 holds 18
        buy b2 6 @ 50 by bob                        -> trade s1 6 @ 50; nothing held
    """)
    assert line.order(14).status == "FILLED"


def test_a_replace_beyond_the_accounts_means_changes_nothing() -> None:
    check(
        """
        buy b1 4 @ 10          -> rested; b1 holds 840
        replace b1 5 @ 10      -> INSUFFICIENT_FUNDS; b1 holds 840
        replace b1 2 @ 20      -> replaced, rested; b1 holds 840
        """,
        Line(funds=(0, 1_000)),
    )


def test_a_closed_instrument_cancels_everything_and_says_why() -> None:
    check("""
        buy b1 1 @ 10               -> rested; b1 holds 210
        stop t1 buy 1 up 70 @ 75    -> waits; b1 holds 210, t1 holds 1575
        state CLOSED                -> nothing; b1 holds 210, t1 holds 1575
        draw                        -> t1 cancelled 1 INSTRUMENT_CLOSED, b1 cancelled 1 INSTRUMENT_CLOSED; nothing held
        buy b2 1 @ 10               -> INSTRUMENT_NOT_OPEN; nothing held
        state OPEN                  -> INSTRUMENT_NOT_OPEN; nothing held
    """)  # noqa: E501


def test_a_cancel_all_takes_what_was_there_when_it_came() -> None:
    check("""
        buy b1 1 @ 10               -> rested; b1 holds 210
        buy b2 1 @ 11 by bob        -> rested; b1 holds 210, b2 holds 231
        stop t1 buy 1 up 70 @ 75    -> waits; b1 holds 210, b2 holds 231, t1 holds 1575
        cancel-all ann              -> nothing; b1 holds 210, b2 holds 231, t1 holds 1575
        buy b3 1 @ 12               -> rested; b1 holds 210, b2 holds 231, t1 holds 1575, b3 holds 252
        draw                        -> t1 cancelled 1 CANCEL_ALL, b1 cancelled 1 CANCEL_ALL; b2 holds 231, b3 holds 252
    """)  # noqa: E501
