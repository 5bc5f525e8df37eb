"""Values to show: what a field of a name and a schema could hold."""

from collections.abc import Mapping
from typing import Any, Final

_VALUES: Final[dict[str, Any]] = {
    "account": 100,
    "amount": "250",
    "asset": "USD",
    "base": "BTC",
    "client_order_id": "bot-7:limit",
    "code": "USD",
    "destination": "DE02 1001 0010 0006 8201 01",
    "holdings_max": {"BTC": "10"},
    "instrument": "BTC-USD",
    "key_id": "4",
    "label": "market maker",
    "name": "Alice",
    "networks": ["192.0.2.0/24"],
    "order_id": "20",
    "owner": 1,
    "permissions": ["READ", "TRADE"],
    "price": "60000.00",
    "protection_price": "61000.00",
    "quantity": "0.5",
    "quantity_max": "10",
    "notional_max": "100000",
    "quote": "USD",
    "reason": "looking into it",
    "reference": "bank 4711",
    "lot_size": "0.0001",
    "scale": 6,
    "symbol": "BTC-USD",
    "tick_size": "0.01",
    "tier": "vip",
    "timeout_ms": 30_000,
    "to_account": 101,
    "trigger_price": "62000.00",
    "withdrawal_id": "30",
}
#: Fields that may be left out, but not all of them at once.
_ALSO: Final[dict[str, tuple[str, ...]]] = {
    "CancelForm": ("order_id",),
    "KeyForm": ("permissions", "account", "label"),
    "LimitsForm": ("open_orders_max",),
    "MarketForm": ("quantity",),
}
_NESTED_MAX: Final = 4


def sample(
    schema: Mapping[str, Any], components: Mapping[str, Any], name: str = "", depth: int = 0
) -> Any:
    """A value of the schema; of an object the fields that must be there.

    >>> sample({"type": "object", "required": ["side"], "properties": {
    ...     "side": {"enum": ["buy", "sell"]}, "price": {"type": "string"}}}, {})
    {'side': 'buy'}
    """
    if "$ref" in schema:
        return sample(components[schema["$ref"].rpartition("/")[2]], components, name, depth)
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], components, name, depth)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    kind, name = schema.get("type"), name or schema.get("title", "")
    if kind == "object" and "properties" in schema:
        fields = schema["properties"]
        needed = [*schema.get("required", ()), *_ALSO.get(schema.get("title", ""), ())]
        found = {one: sample(fields[one], components, one, depth + 1) for one in needed}
        if "client_order_id" in found and "type" in found:  # no two may have one id
            found["client_order_id"] = f"bot-7:{found['type']}"
        return found
    if name in _VALUES:
        return _VALUES[name]
    if kind == "array":
        least = max(1, schema.get("minItems", 0)) if depth < _NESTED_MAX else 0
        if "prefixItems" in schema:
            return [sample(one, components, "", depth + 1) for one in schema["prefixItems"]]
        items = schema.get("items", {})
        kinds = items.get("anyOf", [items])
        return [sample(kinds[at % len(kinds)], components, "", depth + 1) for at in range(least)]
    if kind in ("integer", "number"):
        return max(1, schema.get("minimum", 0))
    return {"boolean": True, "object": {}, "null": None}.get(str(kind), "text")
