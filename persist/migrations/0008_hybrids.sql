-- Hybrid torrents (BEP 52): one torrent with two infohashes, and a swarm by each.

ALTER TABLE torrents ADD COLUMN info_hash_v2 bytea CHECK (octet_length(info_hash_v2) = 20);
CREATE UNIQUE INDEX torrents_info_hash_v2_key ON torrents (info_hash_v2) WHERE info_hash_v2 IS NOT NULL;

COMMENT ON COLUMN torrents.info_hash_v2 IS
    'The second infohash of a hybrid torrent, 20 bytes: the first 20 of the SHA-256 of its info dictionary. NULL for all others. What its clients move by either name is counted once, here.';
COMMENT ON COLUMN torrents.said_at IS
    'When SQL named a column of this row in an UPDATE the last time: freeleech, upload_percent, info_hash_v2, in this order. Kept by triggers; NULL for most.';

-- No index spans two columns.
CREATE FUNCTION torrents_names() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    other bigint;
BEGIN
    EXECUTE format('SELECT id FROM %I.torrents WHERE id <> $3 AND (info_hash = $2 OR info_hash_v2 = $1) LIMIT 1',
            TG_TABLE_SCHEMA)
        INTO other USING NEW.info_hash, NEW.info_hash_v2, NEW.id;
    IF other IS NULL AND NEW.info_hash = NEW.info_hash_v2 THEN
        other := NEW.id;
    END IF;
    IF other IS NOT NULL THEN
        RAISE unique_violation USING
            MESSAGE = format('an infohash of torrent %s is the other name of torrent %s', NEW.id, other),
            HINT = 'Of a hybrid torrent there is one row: info_hash is its SHA-1, info_hash_v2 the first 20 bytes of its SHA-256.',
            TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA, CONSTRAINT = 'torrents_names';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION torrents_names IS 'Refuses an infohash that is a name of another torrent.';

CREATE TRIGGER torrents_names_rows BEFORE INSERT ON torrents FOR EACH ROW EXECUTE FUNCTION torrents_names();
CREATE TRIGGER torrents_names_columns BEFORE UPDATE OF info_hash, info_hash_v2 ON torrents FOR EACH ROW
    WHEN ((OLD.info_hash, OLD.info_hash_v2) IS DISTINCT FROM (NEW.info_hash, NEW.info_hash_v2))
    EXECUTE FUNCTION torrents_names();

DROP TRIGGER torrents_notice_columns ON torrents;
CREATE TRIGGER torrents_notice_columns AFTER UPDATE OF id, info_hash, info_hash_v2, freeleech, upload_percent ON torrents
    FOR EACH ROW
    WHEN ((OLD.id, OLD.info_hash, OLD.info_hash_v2, OLD.freeleech, OLD.upload_percent)
            IS DISTINCT FROM (NEW.id, NEW.info_hash, NEW.info_hash_v2, NEW.freeleech, NEW.upload_percent)
        AND coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION torrents_notice();

CREATE TRIGGER torrents_said_3 BEFORE UPDATE OF info_hash_v2 ON torrents FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(3);
