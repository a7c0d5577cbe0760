/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See identity.h. */
#include "nodeproxy/lib/knobs/identity.h"

#include <string.h>

const char *identity_tls_wrong(const struct knobs_listener *l, const char **ret_key)
{
	const bool on = l->tls == TLS_TERMINATE, asks = l->tls_client != TLS_CLIENT_OFF;
	const bool files = on && !l->tls_identity[0], mesh = asks && l->tls_client_trust == TLS_TRUST_MESH;
	const struct {
		const char *key;
		bool given, needed, meant;
		const char *with;
	} rows[] = {
		{ "tls_identity", l->tls_identity[0], false, on, "tls: terminate" },
		{ "tls_certificate", l->tls_certificate[0], files, files, "tls: terminate" },
		{ "tls_key", l->tls_key[0], files, files, "tls: terminate" },
		{ "tls_min_version", l->tls_min_version != TLS_MIN_1_3, false, files, "tls: terminate" },
		{ "tls_client", asks, false, on, "tls: terminate" },
		{ "tls_client_trust", l->tls_client_trust != TLS_TRUST_FILE, asks && l->tls_identity[0], asks,
		  asks ? "tls_client and tls_identity, and mesh" : "tls_client: optional or require" },
		{ "tls_client_ca", l->tls_client_ca[0], asks && !mesh, asks && !mesh,
		  mesh ? "tls_client_trust: file" :
		  asks ? "tls_client, or tls_client_trust: mesh" : "tls_client: optional or require" },
	};
	static char words[128];

	*ret_key = "tls_key";
	if (knobs_paths(l->tls_certificate) != knobs_paths(l->tls_key) && l->tls_key[0] && l->tls_certificate[0])
		return "must be as many files as tls_certificate";
	for (size_t i = 0; i < countof(rows); i++) {
		*ret_key = rows[i].key;
		if (rows[i].needed && !rows[i].given) {
			snprintf(words, sizeof words, "is required with %s", rows[i].with);
			return words;
		}
		if (rows[i].given && !rows[i].meant) {
			snprintf(words, sizeof words, "has a meaning only with %s%s", rows[i].with,
				 on && strcmp(rows[i].with, "tls: terminate") == 0 ?
					 ", and without tls_identity" : "");
			return words;
		}
	}
	return NULL;
}

const char *identity_wrong(const struct knobs *k, const char **ret_key)
{
	const struct {
		const char *key, *value;
		bool needed, meant;
		const char *with;
	} rows[] = {
		{ "identity.ca_certificate", k->identity_ca_certificate, k->identity_issuer == IDENTITY_NODE_CA,
		  k->identity_issuer == IDENTITY_NODE_CA, "node-ca" },
		{ "identity.ca_key", k->identity_ca_key, k->identity_issuer == IDENTITY_NODE_CA,
		  k->identity_issuer == IDENTITY_NODE_CA, "node-ca" },
		{ "identity.files", k->identity_files, k->identity_issuer == IDENTITY_FILES,
		  k->identity_issuer == IDENTITY_FILES, "files" },
		{ "identity.bundle", k->identity_bundle, k->identity_issuer != IDENTITY_NONE,
		  k->identity_issuer != IDENTITY_NONE, "node-ca or files" },
		{ "identity.crl", k->identity_crl, false, k->identity_issuer != IDENTITY_NONE, "node-ca or files" },
		{ "identity.passphrase_file", k->identity_passphrase, false,
		  k->identity_issuer != IDENTITY_NONE, "node-ca or files" },
	};
	static char words[96];

	*ret_key = "identity.dir";
	if (strcmp(k->identity_dir, k->state_dir) == 0 || strcmp(k->identity_dir, k->run_dir) == 0)
		return "must be a directory of its own, neither state_dir nor run_dir";
	for (size_t i = 0; i < countof(rows); i++) {
		*ret_key = rows[i].key;
		if (rows[i].needed && !rows[i].value[0]) {
			snprintf(words, sizeof words, "is required with identity.issuer: %s", rows[i].with);
			return words;
		}
		if (rows[i].value[0] && !rows[i].meant) {
			snprintf(words, sizeof words, "has a meaning only with identity.issuer: %s", rows[i].with);
			return words;
		}
	}
	return NULL;
}

const char *identity_unmet(const struct knobs *k, const struct knobs_listener *l)
{
	if (k->identity_issuer != IDENTITY_NONE)
		return NULL;
	return l->tls_identity[0] ? "tls_identity" :
	       l->tls_client_trust == TLS_TRUST_MESH ? "tls_client_trust" : NULL;
}
