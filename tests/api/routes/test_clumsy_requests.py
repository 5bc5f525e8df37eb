"""Mistakes of clients that would do more than was meant, or something else."""

import pytest

from tests.api.routes.venue import Venue


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/orders?instrument=BTC-USD&instrument=BTC/USD", None, "instrument"),
        ("/v1/orders", b'{"instrument":"BTC/USD"}', None),
        ("/v1/orders", b"instrument=BTC/USD", None),
    ],
)
async def test_a_cancel_all_that_is_narrower_than_it_looks_cancels_nothing(
    path: str, body: bytes | None, field: str | None, venue: Venue
) -> None:
    await venue.alice.place("a-1")
    refused = venue.alice.read(await venue.alice.ask("DELETE", path, body), 400)
    assert (refused["code"], refused.get("field")) == ("INVALID_FIELD", field)
    assert len((await venue.alice.get("/v1/orders"))["orders"]) == 1


@pytest.mark.parametrize("path", ["/v1/orders/", "/v1/orders/by-client-id/", "/v1//orders"])
async def test_an_id_left_empty_cancels_nothing(path: str, venue: Venue) -> None:
    await venue.alice.place("a-1")
    assert (await venue.alice.delete(path, 404))["code"] == "NOT_FOUND"
    assert len((await venue.alice.get("/v1/orders"))["orders"]) == 1


async def test_query_parameters_beside_a_body_are_refused(venue: Venue) -> None:
    body = b'{"price":"100.00","quantity":"1"}'
    response = await venue.alice.ask("PUT", "/v1/orders/1?post_only=true", body)
    refused = venue.alice.read(response, 400)
    assert (refused["code"], refused["field"]) == ("INVALID_FIELD", "post_only")
