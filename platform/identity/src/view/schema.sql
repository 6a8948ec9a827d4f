-- The read model of identities. Times are RFC 3339 texts in UTC, which sort as they follow.

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    email TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    credential_id BLOB NOT NULL,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    last_used_at TEXT
) STRICT;
CREATE INDEX passkeys_by_user ON passkeys (user_id, id);
CREATE INDEX passkeys_by_credential ON passkeys (credential_id);

CREATE TABLE organisations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE members (
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    joined_at TEXT NOT NULL,
    PRIMARY KEY (org_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user_id, org_id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT
) STRICT;
CREATE INDEX api_keys_by_org ON api_keys (org_id, id);

-- Every event of an organisation, whichever part of the platform decided it.
CREATE TABLE audit_events (
    org_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_index INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    record_hash BLOB NOT NULL,
    occurred_at TEXT NOT NULL,
    actor TEXT NOT NULL,
    aggregate_kind TEXT NOT NULL,
    aggregate_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (org_id, position, event_index)
) STRICT, WITHOUT ROWID;
