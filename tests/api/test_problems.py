"""Every answer other than success is JSON with a stable code, the field, our time, an id."""

from __future__ import annotations

import logging
import re

import msgspec
import pytest
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from api import problems
from engine import errors
from engine.messages import Refused
from engine.refusals import Reason
from engine.units import TimeNs


class StoppedClock:
    """A clock that shows one time."""

    def now_ns(self) -> TimeNs:
        return TimeNs(1_700_000_000_000_000_000)


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """An example body."""

    price: int
    legs: list[int] = []


@pytest.fixture
async def app() -> QuartTrio:
    """An app whose one route raises what the test put into `raising`."""
    app = QuartTrio("problems")
    app.raising = ZeroDivisionError("secret detail")  # type: ignore[attr-defined]
    problems.install(app, StoppedClock())

    @app.post("/fail")
    async def fail() -> Response:
        raise app.raising  # type: ignore[attr-defined]

    @app.post("/v1/order")
    async def order() -> Response:
        return Response(str(msgspec.json.decode(await request.get_data(), type=Order).price))

    return app


async def failing(app: QuartTrio, error: BaseException) -> Response:
    """The answer to a request during which `error` is raised."""
    app.raising = error  # type: ignore[attr-defined]
    answer = await app.test_client().post("/fail")
    assert isinstance(answer, Response)
    return answer


async def error_of(response: Response) -> dict[str, object]:
    """The error in a JSON answer."""
    assert response.content_type == "application/json"
    error = (await response.get_json())["error"]
    assert isinstance(error, dict)
    return error


def kinds_of(base: type[errors.EngineError]) -> list[type[errors.EngineError]]:
    """Every fault below `base`."""
    below = base.__subclasses__()
    return below + [kind for child in below for kind in kinds_of(child)]


async def test_a_wrong_path_and_a_wrong_method_are_answered_in_json(app: QuartTrio) -> None:
    missing = await app.test_client().get("/nowhere")
    assert missing.status_code == 404
    error = await error_of(missing)
    assert error["code"] == "NOT_FOUND"
    assert error["server_time_ns"] == 1_700_000_000_000_000_000
    wrong = await app.test_client().get("/fail")
    assert wrong.status_code == 405
    assert set(wrong.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    assert (await error_of(wrong))["code"] == "METHOD_NOT_ALLOWED"


async def test_a_path_is_never_tidied_by_a_redirect(app: QuartTrio) -> None:
    for path in ("/v1/order/", "/v1//order"):
        answer = await app.test_client().post(path, data=b'{"price":7}')
        assert (answer.status_code, answer.headers.get("Location")) == (404, None)


@pytest.mark.parametrize("kind", kinds_of(errors.EngineError))
async def test_every_fault_of_the_engine_has_its_own_entry(
    kind: type[errors.EngineError], app: QuartTrio
) -> None:
    assert kind in problems.FAULTS
    known = problems.FAULTS[kind]
    answer = await failing(app, kind("words of our own"))
    assert answer.status_code == known.status
    error = await error_of(answer)
    assert error["code"] == known.code
    shown = "words of our own" if known.status < 500 else known.message
    assert error["message"] == shown


async def test_an_overloaded_engine_says_when_to_come_back(app: QuartTrio) -> None:
    assert (await failing(app, errors.Overloaded())).headers["Retry-After"] == "1"


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_is_a_client_error_under_its_own_code(reason: Reason) -> None:
    problem = problems.of_refusal(Refused(reason, field="price", rule="band"))
    assert problem.code == reason.value
    assert problem.field == "price"
    assert problem.rule == "band"
    assert problem.status in {404, 409, 422, 503}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"price": "7"}', "INVALID_FIELD", "price"),
        (b'{"price": NaN}', "MALFORMED_JSON", None),
        (b'{"price": 1', "MALFORMED_JSON", None),
        (b'{"price": 1, "legs": [1, "2"]}', "INVALID_FIELD", "legs[1]"),
        (b'{"legs": []}', "INVALID_FIELD", "price"),
        (b'{"price": 1, "prise": 1}', "INVALID_FIELD", "prise"),
        (b"[]", "INVALID_FIELD", None),
        (b"", "MALFORMED_JSON", None),
        (b'{"\xff": 1}', "MALFORMED_JSON", None),
    ],
)
async def test_a_body_that_does_not_decode_names_the_field(
    body: bytes, code: str, field: str | None, app: QuartTrio
) -> None:
    answer = await app.test_client().post("/v1/order", data=body)
    assert answer.status_code == 400
    error = await error_of(answer)
    assert error["code"] == code
    assert error.get("field") == field
    assert "`$" not in str(error["message"])


async def test_a_bug_is_logged_under_the_request_id_and_not_shown(
    app: QuartTrio, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await failing(app, ZeroDivisionError("secret detail"))
    assert answer.status_code == 500
    assert "secret" not in (await answer.get_data(as_text=True))
    error = await error_of(answer)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(error["request_id"]) in record.message
    assert record.exc_info is not None


async def test_a_fault_inside_a_nursery_is_found(app: QuartTrio) -> None:
    answer = await failing(app, ExceptionGroup("nursery", [errors.NotFound("no such order")]))
    assert answer.status_code == 404


async def test_what_the_framework_aborts_with_keeps_its_own_answer(app: QuartTrio) -> None:
    teapot = await failing(app, HTTPException(response=Response("tea", 418)))
    assert teapot.status_code == 418
    assert await teapot.get_data(as_text=True) == "tea"


@pytest.mark.parametrize("sent", ["bot-7", "a" * 64])
async def test_a_sane_request_id_comes_back_on_every_answer(sent: str, app: QuartTrio) -> None:
    client = app.test_client()
    good = await client.post("/v1/order", data=b'{"price":7}', headers={"X-Request-Id": sent})
    bad = await client.post("/v1/order", data=b"", headers={"X-Request-Id": sent})
    assert good.headers["X-Request-Id"] == bad.headers["X-Request-Id"] == sent
    assert (await error_of(bad))["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 65, "with space", "ünïcode", "<script>"])
async def test_a_strange_request_id_is_replaced(sent: str, app: QuartTrio) -> None:
    answer = await app.test_client().get("/nowhere", headers={"X-Request-Id": sent})
    assert re.fullmatch(r"req-[0-9a-f]{16}", answer.headers["X-Request-Id"])


async def test_json_nested_without_end_is_malformed(app: QuartTrio) -> None:
    answer = await failing(app, RecursionError())
    assert answer.status_code == 400
