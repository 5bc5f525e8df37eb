"""How the docs page looks, by day and by night."""

from base64 import b64encode
from hashlib import sha256
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --quiet: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9ca3af; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; display: flex; }
nav { width: 20rem; flex: none; height: 100vh; position: sticky; top: 0; overflow: auto;
  padding: 1rem; border-right: 1px solid var(--line); font-size: .8rem; }
nav a { display: block; text-decoration: none; color: inherit; padding: .1rem 0;
  overflow-wrap: anywhere; }
nav a:hover, nav a:focus { text-decoration: underline; }
nav h2 { font-size: .8rem; margin: 1rem 0 .2rem; color: var(--quiet); }
main { flex: 1; min-width: 0; max-width: 60rem; padding: 1rem 2rem 6rem; }
h1 { margin: .2rem 0 1rem; }
article { border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0;
  padding: .3rem 1rem 1rem; }
article h3 { font: 600 1rem ui-monospace, monospace; margin: .7rem 0; overflow-wrap: anywhere; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: 6px; padding: .7rem; overflow: auto;
  margin: .4rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; margin: .3rem 0 .6rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--quiet); font-weight: 500; }
summary { cursor: pointer; color: var(--quiet); font-size: .9rem; margin-top: .4rem; }
.method { display: inline-block; min-width: 4.2rem; }
.get { color: #2563eb; } .post { color: #16803c; }
.put { color: #b45309; } .delete { color: #dc2626; }
@media (prefers-color-scheme: dark) { .get { color: #7aa7ff; } .post { color: #5fce86; }
  .put { color: #f0b060; } .delete { color: #ff8a8a; } }
.tag { font: .75rem system-ui; border: 1px solid var(--line); border-radius: 99px;
  padding: .1rem .6rem; margin-left: .4rem; color: var(--quiet); white-space: nowrap; }
@media (max-width: 50rem) { body { display: block; }
  nav { width: auto; height: auto; position: static; } main { padding: 1rem; } }
"""
_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()
#: Lets this style in, and nothing else from anywhere.
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
