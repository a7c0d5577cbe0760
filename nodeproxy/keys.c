/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keys.h. */
#include "nodeproxy/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "nodeproxy/birth.h"
#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/net/certs.h"
#include "nodeproxy/master.h"
#include "nodeproxy/replace.h"

static const char *const fields[KEY_FILES] = { "tls_certificate", "tls_key", "tls_client_ca" };

/* Of the pair-th certificate; false: there is no such file. */
static bool path_of(const struct knobs_listener *l, unsigned pair, unsigned which, char ret[KNOBS_PATH])
{
	if (which < 2)
		return knobs_path(which ? l->tls_key : l->tls_certificate, pair, ret);
	return pair == 0 && knobs_path(l->tls_client_ca, 0, ret);
}

/* Not those that show an identity. */
static bool has_files(const struct knobs_listener *l)
{
	return l->tls == TLS_TERMINATE && !l->tls_identity[0];
}

static unsigned pairs_of(const struct knobs_listener *l)
{
	return has_files(l) ? knobs_paths(l->tls_certificate) : 0;
}

bool keys_are_wanted(const struct knobs *k)
{
	for (uint32_t i = 0; i < k->n_listeners; i++)
		if (k->listener[i].tls == TLS_TERMINATE)
			return true;
	return k->identity_issuer != IDENTITY_NONE;
}

void keys_open(struct master *m)
{
	m->keys.certs = FD_NONE;
	(void)kept_take(&m->kept, &m->keys.certs, &m->keys.serial, "certs");
}

/* ---- files ---- */

/* 0, or -errno and *which of them. */
static int open_files(const struct knobs_listener *l, unsigned pair, struct fd ret[KEY_FILES], uint32_t *which)
{
	char path[KNOBS_PATH];
	int r = 0;

	for (unsigned i = 0; i < KEY_FILES; i++)
		ret[i] = FD_NONE;
	for (*which = 0; r == 0 && *which < KEY_FILES; ++*which)
		if (path_of(l, pair, *which, path))
			r = files_open_regular((struct fd){ AT_FDCWD }, path, &ret[*which]);
	if (r == 0)
		return 0;
	--*which;
	for (unsigned i = 0; i < KEY_FILES; i++)
		fd_close(&ret[i]);
	return r;
}

static int try_one(const struct knobs_listener *l, unsigned pair, char words[320])
{
	struct fd f[KEY_FILES];
	char path[KNOBS_PATH] = "";
	uint32_t which;
	int r = open_files(l, pair, f, &which);

	if (r < 0) {
		(void)path_of(l, pair, which, path);
		snprintf(words, 320, "%s: cannot open %s: %s", fields[which], path,
			 r == -EINVAL ? "not a regular file" : strerror(-r));
		return r;
	}
	for (unsigned j = 0; j < KEY_FILES; j++)
		fd_close(&f[j]);
	return 0;
}

int keys_try(const struct knobs *k, unsigned *ret_listener, char words[320])
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < k->n_listeners; i++)
		for (unsigned p = 0; r == 0 && p < pairs_of(&k->listener[i]); p++) {
			*ret_listener = i;
			r = try_one(&k->listener[i], p, words);
		}
	return r;
}

/* True when it is another file, or another content, than at the last look. */
static bool look(struct master *m, unsigned i, const struct knobs_listener *l)
{
	bool other = false;

	for (unsigned j = 0; j < pairs_of(l) * KEY_FILES; j++) {
		__auto_type seen = &m->keys.seen[i][j];
		struct stat st = { 0 };
		char path[KNOBS_PATH];

		if (path_of(l, j / KEY_FILES, j % KEY_FILES, path) && stat(path, &st) < 0)
			memset(&st, 0, sizeof st);
		other |= seen->dev != st.st_dev || seen->ino != st.st_ino ||
			 seen->size != st.st_size || seen->at.tv_sec != st.st_mtim.tv_sec ||
			 seen->at.tv_nsec != st.st_mtim.tv_nsec;
		seen->dev = st.st_dev;
		seen->ino = st.st_ino;
		seen->size = st.st_size;
		seen->at = st.st_mtim;
	}
	return other;
}

static void send_one(struct child *c, const struct knobs_listener *l, unsigned index, unsigned pair, bool try)
{
	struct msg_key_file one = { .index = index, .tls12 = l->tls_min_version == TLS_MIN_1_2, .try = try };
	struct fd f[KEY_FILES];
	int fds[KEY_FILES];
	unsigned n = 0;

	(void)certs_name(l->name, pair, one.listener);
	one.error = open_files(l, pair, f, &one.which);
	for (unsigned j = 0; j < KEY_FILES && fd_is_open(f[j]); j++)
		fds[n++] = f[j].v;
	chan_offer(&c->chan, MSG_KEY_FILE, &one, (struct slice){ 0 }, fds, n);
	for (unsigned j = 0; j < KEY_FILES; j++)
		fd_close(&f[j]);
}

void keys_send(struct master *m, struct child *c, const struct knobs *k, bool try)
{
	struct msg_key_files all = { .try = try };

	if (!c->has_chan || !c->told)
		return;
	for (unsigned i = 0; i < k->n_listeners; i++) {
		const struct knobs_listener *l = &k->listener[i];

		if (!try && pairs_of(l))
			(void)look(m, i, l);	/* before they are opened: a change after that is seen */
		for (unsigned p = 0; p < pairs_of(l); p++, all.count++)
			send_one(c, l, i, p, try);
	}
	(void)chan_say(&c->chan, MSG_KEY_FILES, &all);
}

/* ---- lines ---- */

static void connect_one(struct child *keyd, struct child *worker)
{
	struct msg_key_line line = { .worker = worker->id };
	struct fd pair[2];

	if (!keyd->has_chan || !keyd->told || !worker->has_chan || !worker->told ||
	    chan_pair(pair) < 0)
		return;
	chan_offer(&keyd->chan, MSG_KEY_LINE, &line, (struct slice){ 0 }, &pair[0].v, 1);
	line.worker = 0;
	chan_offer(&worker->chan, MSG_KEY_LINE, &line, (struct slice){ 0 }, &pair[1].v, 1);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

void keys_connect(struct master *m, struct child *c)
{
	struct child *keyd = &m->child[CHILD_KEYD];

	if (child_is_worker(c)) {
		connect_one(keyd, c);
		return;
	}
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		connect_one(keyd, &m->child[i]);
}

/* ---- certificates ---- */

void keys_send_certs(struct master *m, struct child *c)
{
	struct msg_rev rev = { .rev = m->keys.serial };

	if (c->has_chan && c->told && fd_is_open(m->keys.certs))
		chan_offer(&c->chan, MSG_CERTS_HERE, &rev, (struct slice){ 0 }, &m->keys.certs.v, 1);
}

void keys_made(struct master *m, struct child *c, const struct msg_rev *rev, struct fd *fd)
{
	uint64_t bytes;

	(void)rev;
	if (!views_is_sealed(*fd, &bytes)) {
		child_broke(c, "certificates that are no sealed memory");
		return;
	}
	fd_close(&m->keys.certs);
	m->keys.certs = fd_take(fd);
	m->keys.serial++;
	keep_put(&m->kept, m->keys.certs, m->keys.serial, "certs");
	for (unsigned i = 0; i < CHILDREN; i++)
		if (child_is_worker(&m->child[i]) || m->child[i].role == ROLE_ADMIND)
			keys_send_certs(m, &m->child[i]);
}

/* ---- life ---- */

void keys_settle(struct master *m)
{
	struct child *c = &m->child[CHILD_KEYD];
	bool wanted = keys_are_wanted(&m->knobs) ||
		      (m->reload.state == RELOAD_TRYING && keys_are_wanted(&m->reload.knobs));

	if (master_is_leaving(m))
		return;
	if (wanted && c->state == PROC_NONE && c->panic)
		child_start(c);
	else if (!wanted && child_is_alive(c) && !c->retired)
		child_stop(c);
}

void keys_tick(struct master *m)
{
	struct child *c = &m->child[CHILD_KEYD];
	bool other = false;

	keys_settle(m);
	if (c->state != PROC_READY || m->reload.state != RELOAD_IDLE)
		return;
	for (unsigned i = 0; i < m->knobs.n_listeners; i++)
		if (has_files(&m->knobs.listener[i]))
			other |= look(m, i, &m->knobs.listener[i]);
	if (!other)
		return;
	log_info("key_files_changed", "listeners=%u", m->knobs.n_listeners);
	keys_send(m, c, &m->knobs, false);
}
