-- Who writes, and that it is alive: so that a session whose machine is gone is told from one that works.

CREATE TABLE writer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL DEFAULT 0,
    journal text,
    node text,
    pid integer,
    beat_at timestamptz
);
INSERT INTO writer DEFAULT VALUES;

COMMENT ON TABLE writer IS
    'Which tracker writes this schema, one row. It says every few seconds that it is alive; another one may end its session when it has not for half a minute. Only the tracker writes it.';
COMMENT ON COLUMN writer.one IS 'Always true: there is one row.';
COMMENT ON COLUMN writer.epoch IS 'Counts the sessions that wrote. What one of an earlier epoch writes is not taken.';
COMMENT ON COLUMN writer.journal IS 'Its journal; see ledger.journal.';
COMMENT ON COLUMN writer.node IS 'The name of the tracker.';
COMMENT ON COLUMN writer.pid IS 'The server process of its session.';
COMMENT ON COLUMN writer.beat_at IS 'When it was alive last, by the clock of the database.';
