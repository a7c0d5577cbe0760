-- SPDX-License-Identifier: Apache-2.0
-- Copyright the nodeproxy authors
--
-- The store of one host, version 1.  Compiled into the sync process (schema.h is made from this
-- file); PRAGMA user_version says which version a file has, PRAGMA application_id whose it is.
-- Documents are kept as they were accepted and validated again when they are read.

-- Single numbers: rev (of the state in here), gen (last generation given to a slot).
CREATE TABLE meta (
	key        TEXT PRIMARY KEY NOT NULL,
	value      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per resource that is served.
CREATE TABLE resource (
	kind       TEXT NOT NULL,
	ns         TEXT NOT NULL,          -- '' for kinds without namespace
	name       TEXT NOT NULL,
	json       TEXT NOT NULL,          -- canonical JSON of the whole object
	digest     BLOB NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of json
	source     TEXT NOT NULL,          -- where it was written: a file's name
	line       INTEGER NOT NULL,
	created    INTEGER NOT NULL,       -- metadata.creationTimestamp, Unix ms; 0: absent; -N: made by revision N of its registry
	generation INTEGER NOT NULL,       -- metadata.generation; 0: absent
	rev        INTEGER NOT NULL,       -- revision that wrote this row
	PRIMARY KEY (kind, ns, name)
) STRICT;

-- Slots of the board, so that counters outlive a restart of the sync process.
CREATE TABLE slot (
	scope      TEXT NOT NULL,          -- tenant, service, endpoint, limit
	key        TEXT NOT NULL,
	slot       INTEGER NOT NULL CHECK (slot > 0),
	gen        INTEGER NOT NULL CHECK (gen > 0),
	PRIMARY KEY (scope, key),
	UNIQUE (scope, slot)
) STRICT, WITHOUT ROWID;
