-- Passkeys with a grace: the one that a user had before stays good for a while, so that his torrents need not be
-- downloaded anew at one moment.

CREATE TABLE former_passkeys (
    user_id bigint PRIMARY KEY REFERENCES users ON UPDATE CASCADE ON DELETE CASCADE,
    passkey text COLLATE "C" NOT NULL CONSTRAINT former_passkeys_passkey_key UNIQUE
        CHECK (passkey ~ '^[0-9A-Za-z]{32}$'),
    good_until timestamptz NOT NULL
);

COMMENT ON TABLE former_passkeys IS
    'Passkeys that users had before, each good for a while beside the user''s own. The site may insert, update and delete rows; the tracker is told at once. To keep one by SQL, insert it here and change users.passkey in the same transaction. Rows that are over are deleted by the tracker.';
COMMENT ON COLUMN former_passkeys.user_id IS 'Whose it is; see users.id. It goes with the user.';
COMMENT ON COLUMN former_passkeys.passkey IS
    'The passkey before: 32 ASCII letters and digits. Where it is in users as well, it is that user''s.';
COMMENT ON COLUMN former_passkeys.good_until IS 'From this moment on it is refused as unknown.';

CREATE FUNCTION former_passkeys_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'former_passkeys ' || OLD.user_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'former_passkeys ' || NEW.user_id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION former_passkeys_notice IS
    'Tells the tracker of which user a former passkey changed; the passkey is not in the notice.';

CREATE TRIGGER former_passkeys_notice AFTER INSERT OR UPDATE OR DELETE ON former_passkeys FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION former_passkeys_notice();
CREATE TRIGGER former_passkeys_reload_notice AFTER TRUNCATE ON former_passkeys
    FOR EACH STATEMENT EXECUTE FUNCTION reload_notice();

-- Another passkey ends the one before the last. Who may change users need not be allowed to delete here.
CREATE FUNCTION former_passkeys_replaced() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('DELETE FROM %I.former_passkeys WHERE user_id = $1 AND passkey <> $2', TG_TABLE_SCHEMA)
        USING NEW.id, OLD.passkey;
    RETURN NULL;
END
$$;
-- Nobody else may put it on a table of his own, where it would do with our rights what that table's schema says.
REVOKE EXECUTE ON FUNCTION former_passkeys_replaced() FROM PUBLIC;
COMMENT ON FUNCTION former_passkeys_replaced IS
    'Ends the former passkey of a user who is given another passkey, unless it is the one that he had until now.';

CREATE TRIGGER users_passkey_replaced AFTER UPDATE OF passkey ON users FOR EACH ROW
    WHEN (OLD.passkey <> NEW.passkey AND coalesce(current_setting('margay.ledger', true), '') <> 'on')
    EXECUTE FUNCTION former_passkeys_replaced();
