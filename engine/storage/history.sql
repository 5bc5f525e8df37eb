-- The read models: what the journal's records did, for reading. All of it follows from the journal
-- and may be thrown away; whoever changes this file raises VERSION in history_tables.py, and the
-- projector builds it anew. Every index serves one read of the port `History`.
-- Runs with the schema to fill as its search path.

-- One row. Releases may differ in everything else, but not in these columns.
CREATE TABLE watermark (
    singleton          boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version            integer NOT NULL,
    block_number       bigint  NOT NULL DEFAULT 0,
    sequence           bigint  NOT NULL DEFAULT 0,
    time_ns            bigint  NOT NULL DEFAULT 0,
    effects_kept_after bigint  NOT NULL DEFAULT 0
);

CREATE TABLE trades (
    sequence         bigint   NOT NULL,
    index            integer  NOT NULL,
    time_ns          bigint   NOT NULL,
    instrument_id    bigint   NOT NULL,
    price_ticks      bigint   NOT NULL,
    quantity_lots    bigint   NOT NULL,
    taker_side       smallint NOT NULL,
    maker_order_id   bigint   NOT NULL,
    taker_order_id   bigint   NOT NULL,
    maker_account_id bigint   NOT NULL,
    taker_account_id bigint   NOT NULL,
    maker_fee_minor  bigint   NOT NULL,
    taker_fee_minor  bigint   NOT NULL,
    PRIMARY KEY (instrument_id, sequence, index)
);
CREATE INDEX trades_maker ON trades (maker_account_id, sequence, index);
CREATE INDEX trades_taker ON trades (taker_account_id, sequence, index);
CREATE INDEX trades_maker_instrument ON trades (maker_account_id, instrument_id, sequence, index);
CREATE INDEX trades_taker_instrument ON trades (taker_account_id, instrument_id, sequence, index);

CREATE TABLE entries (
    sequence             bigint   NOT NULL,
    index                integer  NOT NULL,
    time_ns              bigint   NOT NULL,
    debit_account_id     bigint   NOT NULL,
    credit_account_id    bigint   NOT NULL,
    asset_id             integer  NOT NULL,
    amount_minor         bigint   NOT NULL,
    purpose              smallint NOT NULL,
    debit_balance_minor  bigint   NOT NULL,
    credit_balance_minor bigint   NOT NULL,
    PRIMARY KEY (sequence, index)
);
CREATE INDEX entries_debit ON entries (debit_account_id, sequence, index);
CREATE INDEX entries_credit ON entries (credit_account_id, sequence, index);
CREATE INDEX entries_debit_asset ON entries (debit_account_id, asset_id, sequence, index);
CREATE INDEX entries_credit_asset ON entries (credit_account_id, asset_id, sequence, index);
CREATE INDEX entries_asset ON entries (asset_id, sequence, index);

-- The payload is the MessagePack of an OrderRow. Orders change: room for that in their own page.
CREATE TABLE orders (
    order_id      bigint PRIMARY KEY,
    account_id    bigint NOT NULL,
    instrument_id bigint NOT NULL,
    payload       bytea  NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX orders_account ON orders (account_id, order_id);
CREATE INDEX orders_account_instrument ON orders (account_id, instrument_id, order_id);

CREATE TABLE balances (
    account_id    bigint  NOT NULL,
    asset_id      integer NOT NULL,
    balance_minor bigint  NOT NULL,
    held_minor    bigint  NOT NULL,
    sequence      bigint  NOT NULL,
    PRIMARY KEY (account_id, asset_id)
) WITH (fillfactor = 50);

-- Sums may outgrow 64 bits.
CREATE TABLE candles (
    instrument_id bigint  NOT NULL,
    interval_s    integer NOT NULL,
    start_s       bigint  NOT NULL,
    open_ticks    bigint  NOT NULL,
    high_ticks    bigint  NOT NULL,
    low_ticks     bigint  NOT NULL,
    close_ticks   bigint  NOT NULL,
    volume_lots   numeric NOT NULL,
    tick_lots     numeric NOT NULL,
    trades        bigint  NOT NULL,
    PRIMARY KEY (instrument_id, interval_s, start_s)
) WITH (fillfactor = 80);

-- A key is UTF-8 as bytes, since a text may not hold every character; the digest's 64 bits are
-- those of a signed number.
CREATE TABLE keys (
    scope       bigint NOT NULL,
    key         bytea  NOT NULL,
    sequence    bigint NOT NULL,
    body_digest bigint NOT NULL,
    PRIMARY KEY (scope, key)
);

-- The effects are the MessagePack of an array of Effect.
CREATE TABLE effects (
    account_id bigint NOT NULL,
    sequence   bigint NOT NULL,
    time_ns    bigint NOT NULL,
    effects    bytea  NOT NULL,
    PRIMARY KEY (account_id, sequence)
);
CREATE INDEX effects_sequence ON effects (sequence);

-- The payload is the MessagePack of an AuditRow.
CREATE TABLE audit (
    sequence bigint PRIMARY KEY,
    payload  bytea  NOT NULL
);
