"""Outcry's engine.

units, refusals, errors, messages   the vocabulary
orderbook, ledger, risk             pure cores
products, accounts                  pure machines, one per kind of desk
journal                             records, blocks, and the state that is their fold
history, marketdata                 what is kept for reading, and what everybody may watch
ports                               what the engine asks of the world
actors                              trio: mailboxes, supervision, the stations
gateways, storage                   adapters
service                             the facade the api calls
wiring                              the supervision tree, as an outline
projector                           the process beside the engine that leaves snapshots behind
"""
