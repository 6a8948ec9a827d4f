-- One row per aggregate: the state that its events fold to, as JSON, and the columns that queries need.
CREATE TABLE cluster (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE INDEX cluster_by_org ON cluster (org_id, id);
CREATE INDEX cluster_by_host ON cluster (state ->> '$.host');

CREATE TABLE node (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT;

CREATE TABLE operation (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE INDEX operation_open ON operation (id) WHERE is_open = 1;
