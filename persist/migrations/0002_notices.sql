-- The tracker listens to the channel <schema>_changes. Each notice names one row, or says that there were
-- too many. Triggers are by row and by column: what the tracker credits touches none of these columns, and
-- costs nothing here. The tracker's own sessions set margay.ledger, and are silent.

CREATE FUNCTION notice(schema name, row_name text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    -- How many notices this transaction has given; the setting ends with it.
    given integer := coalesce(nullif(current_setting('margay.notices', true), ''), '0');
BEGIN
    IF given > 1000 THEN
        RETURN;
    END IF;
    PERFORM pg_notify(schema || '_changes', CASE WHEN given = 1000 THEN 'reload' ELSE row_name END);
    PERFORM set_config('margay.notices', (given + 1)::text, true);
END
$$;
COMMENT ON FUNCTION notice IS
    'Tells the tracker of one row; after a thousand in one transaction, once that it has to read everything.';

CREATE FUNCTION users_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
        USING TG_TABLE_SCHEMA, 'users ' || coalesce(NEW.id, OLD.id);
    IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'users ' || OLD.id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION users_notice IS 'Tells the tracker which user changed; the passkey is not in the notice.';

CREATE FUNCTION torrents_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'torrents ' || OLD.id || ' ' || encode(OLD.info_hash, 'hex');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'torrents ' || NEW.id || ' ' || encode(NEW.info_hash, 'hex');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION torrents_notice IS 'Tells the tracker which torrent changed.';

CREATE FUNCTION tokens_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'tokens ' || OLD.user_id || ' ' || OLD.torrent_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'tokens ' || NEW.user_id || ' ' || NEW.torrent_id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION tokens_notice IS 'Tells the tracker which token changed.';

CREATE FUNCTION client_rules_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'client_rules ' || encode(OLD.prefix, 'hex');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'client_rules ' || encode(NEW.prefix, 'hex');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION client_rules_notice IS 'Tells the tracker which client rule changed.';

CREATE FUNCTION reload_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_changes', 'reload');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION reload_notice IS 'Tells the tracker that it has to read everything.';

-- Rows that come or go, and columns that matter to an announce. margay.ledger is on in the tracker's own
-- sessions.
CREATE TRIGGER users_notice_rows AFTER INSERT OR DELETE ON users FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION users_notice();
CREATE TRIGGER users_notice_columns AFTER UPDATE OF id, passkey, can_leech, hidden, enabled ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.passkey, OLD.can_leech, OLD.hidden, OLD.enabled)
            IS DISTINCT FROM (NEW.id, NEW.passkey, NEW.can_leech, NEW.hidden, NEW.enabled)
        AND coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION users_notice();
CREATE TRIGGER torrents_notice_rows AFTER INSERT OR DELETE ON torrents FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION torrents_notice();
CREATE TRIGGER torrents_notice_columns AFTER UPDATE OF id, info_hash, freeleech, upload_percent ON torrents FOR EACH ROW
    WHEN ((OLD.id, OLD.info_hash, OLD.freeleech, OLD.upload_percent)
            IS DISTINCT FROM (NEW.id, NEW.info_hash, NEW.freeleech, NEW.upload_percent)
        AND coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION torrents_notice();
CREATE TRIGGER tokens_notice_rows AFTER INSERT OR DELETE ON tokens FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION tokens_notice();
CREATE TRIGGER tokens_notice_columns AFTER UPDATE OF user_id, torrent_id, expires_at, spent_at ON tokens FOR EACH ROW
    WHEN ((OLD.user_id, OLD.torrent_id, OLD.expires_at, OLD.spent_at)
            IS DISTINCT FROM (NEW.user_id, NEW.torrent_id, NEW.expires_at, NEW.spent_at)
        AND coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION tokens_notice();
CREATE TRIGGER client_rules_notice AFTER INSERT OR UPDATE OR DELETE ON client_rules FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION client_rules_notice();

CREATE TRIGGER users_reload_notice AFTER TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION reload_notice();
CREATE TRIGGER torrents_reload_notice AFTER TRUNCATE ON torrents FOR EACH STATEMENT EXECUTE FUNCTION reload_notice();
CREATE TRIGGER tokens_reload_notice AFTER TRUNCATE ON tokens FOR EACH STATEMENT EXECUTE FUNCTION reload_notice();
CREATE TRIGGER client_rules_reload_notice AFTER TRUNCATE ON client_rules FOR EACH STATEMENT EXECUTE FUNCTION reload_notice();
