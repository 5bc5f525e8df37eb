"""An admin key at the first start, or when the last one was lost; and lines to try it with."""

from typing import Final

from api.keys.auth import bearer_key, new_secret
from engine.accounts.messages import Permission
from engine.errors import EngineError
from engine.service import Service

_WELCOME: Final = """
Outcry listens on {url}

An admin key, shown this once and never again:

    export OUTCRY_KEY={secret}

Try it:

    curl {url}/v1/health
    curl {url}/v1/admin/assets -H "Authorization: Bearer $OUTCRY_KEY" \\
        -H 'Content-Type: application/json' -d '{{"code":"USD","kind":"currency","scale":6}}'
    curl {url}/v1/admin/actors -H "Authorization: Bearer $OUTCRY_KEY"

`outcry demo` serves a market that is ready to trade. Ctrl-C stops.
"""


async def greet_operator(service: Service, url: str, *, wants_key: bool = False) -> str:
    """What `outcry serve` prints: an admin key if there is none yet, or if one is wanted."""
    keys, now_ns = service.released.rules.directory.keys.values(), service.now_ns()
    in_force = any(Permission.ADMIN in key.rights and not key.has_expired(now_ns) for key in keys)
    if in_force and not wants_key:
        return f"\nOutcry listens on {url}. Ctrl-C stops.\n"
    return _WELCOME.format(url=url, secret=await make_admin_key(service))


async def make_admin_key(service: Service) -> str:
    """Let a new admin's key in, which never expires: it makes the others. Returns its secret.

    Raises: EngineError when it is refused.
    """
    secret = new_secret()
    command = bearer_key(secret, Permission.ADMIN, label="made at the start")
    record = await service.submit(command)
    if record.refusal is not None:
        raise EngineError(f"no admin key: {record.refusal.reason}")
    return secret
