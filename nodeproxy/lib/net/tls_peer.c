/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The other side's certificate as an element of X-Forwarded-Client-Cert, as Envoy writes it:
 * By=...;Hash=...;Subject="...";URI=...;DNS=...  Made once per connection, of a certificate that was
 * verified.  What is not plain text of ASCII is left out, and so is what would not be an identity of the
 * mesh and looks like one. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/tls_inner.h"

#define WORDS_MAX 1536u		/* of names that do not fit none is begun */
#define NAMES_MAX 16u

static bool is_plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return s.n > 0;
}

static bool is_host(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = byte_lower(s.p[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr(".-_*", c ? c : 'x'))
			return false;
	}
	return s.n > 0;
}

static bool wants_quotes(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (strchr(",;=\" \\", s.p[i]))
			return true;
	return false;
}

/* Whole, or not at all. */
static void add(struct strbuf *b, const char *field, struct slice value, bool quotes)
{
	size_t room = 2 * value.n + strlen(field) + 4;

	if (b->n + room >= WORDS_MAX)
		return;
	if (b->n)
		strbuf_addc(b, ';');
	strbuf_adds(b, field);
	strbuf_addc(b, '=');
	if (quotes)
		strbuf_addc(b, '"');
	for (size_t i = 0; i < value.n; i++) {
		if (quotes && (value.p[i] == '"' || value.p[i] == '\\'))
			strbuf_addc(b, '\\');
		strbuf_addc(b, (char)value.p[i]);
	}
	if (quotes)
		strbuf_addc(b, '"');
}

static void add_subject(struct strbuf *b, X509 *x)
{
	BIO *mem = BIO_new(BIO_s_mem());
	const uint8_t *p = NULL;
	size_t n = 0;

	/* RFC 2253, and bytes that are no ASCII as \XX */
	if (mem && X509_NAME_print_ex(mem, X509_get_subject_name(x), 0,
				      XN_FLAG_RFC2253 & ~ASN1_STRFLGS_UTF8_CONVERT) >= 0 &&
	    BIO_mem_contents(mem, &p, &n) && is_plain(slice_of(p, n)))
		add(b, "Subject", slice_of(p, n), true);
	else
		add(b, "Subject", SLICE(""), true);
	BIO_free(mem);
}

/* Names of this kind, each as a field. */
static void add_names(struct strbuf *b, X509 *x, int type, const char *field, bool has_identity)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	unsigned n = 0;

	for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names) && n < NAMES_MAX; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		struct slice s;

		if (g->type != type)
			continue;
		s = slice_of(ASN1_STRING_get0_data(g->d.ia5), (size_t)ASN1_STRING_length(g->d.ia5));
		if (type == GEN_DNS ? !is_host(s) : !is_plain(s) || (!has_identity && slice_starts(s, SLICE("spiffe:"))))
			continue;
		add(b, field, s, wants_quotes(s));
		n++;
	}
	GENERAL_NAMES_free(names);
}

/* What our own certificate is called. */
static void add_by(struct strbuf *b, const struct tls *t)
{
	const struct tls_side *s = t->side;
	const struct leaf *l = &s->leaf[0];

	for (unsigned i = 0; i < s->leaves; i++)
		if (s->leaf[i].key == t->key)
			l = &s->leaf[i];
	if (l->x)
		add_names(b, l->x, GEN_URI, "By", true);
}

static void add_hash(struct strbuf *b, const CRYPTO_BUFFER *leaf)
{
	static const char digit[] = "0123456789abcdef";
	uint8_t hash[SHA256_DIGEST_LENGTH];
	char hex[2 * sizeof hash];

	SHA256(CRYPTO_BUFFER_data(leaf), CRYPTO_BUFFER_len(leaf), hash);
	for (size_t i = 0; i < sizeof hash; i++) {
		hex[2 * i] = digit[hash[i] >> 4];
		hex[2 * i + 1] = digit[hash[i] & 15];
	}
	add(b, "Hash", slice_of(hex, sizeof hex), false);
}

char *tls_peer_words(const struct tls *t, CRYPTO_BUFFER *leaf, bool has_identity)
{
	char text[WORDS_MAX + 1];
	struct strbuf b = strbuf_on(text, sizeof text);
	X509 *x = X509_parse_from_buffer(leaf);

	add_by(&b, t);
	add_hash(&b, leaf);
	if (x) {
		add_subject(&b, x);
		add_names(&b, x, GEN_URI, "URI", has_identity);
		add_names(&b, x, GEN_DNS, "DNS", true);
	}
	X509_free(x);
	ERR_clear_error();
	return OPENSSL_strndup(text, b.n);
}
