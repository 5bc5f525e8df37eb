-- The journal: one row per group commit, the head that every commit compares and sets, snapshots.

CREATE TABLE journal_block (
    number          bigint      PRIMARY KEY CHECK (number >= 1),
    epoch           bigint      NOT NULL,
    first_sequence  bigint      NOT NULL,
    last_sequence   bigint      NOT NULL UNIQUE,
    previous_digest bytea       NOT NULL CHECK (octet_length(previous_digest) = 32),
    digest          bytea       NOT NULL CHECK (octet_length(digest) = 32),
    payload         bytea       NOT NULL,
    committed_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (first_sequence <= last_sequence)
);

-- Large payloads go out of line as they are: compressing them would cost more than the disk write.
ALTER TABLE journal_block ALTER COLUMN payload SET STORAGE EXTERNAL;

-- One row. Epoch 0 is before the first writer.
CREATE TABLE journal_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch     bigint  NOT NULL,
    number    bigint  NOT NULL,
    sequence  bigint  NOT NULL,
    digest    bytea   NOT NULL CHECK (octet_length(digest) = 32)
);

INSERT INTO journal_head (epoch, number, sequence, digest)
VALUES (0, 0, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE snapshot (
    block_number   bigint      PRIMARY KEY,
    sequence       bigint      NOT NULL,
    digest         bytea       NOT NULL,
    rules_version  bigint      NOT NULL,
    payload        bytea       NOT NULL,
    payload_digest bytea       NOT NULL,
    written_at     timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE snapshot ALTER COLUMN payload SET STORAGE EXTERNAL;
