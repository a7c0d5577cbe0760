/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The structure of resources: the rows of kinds.def, and the walk that holds a document to them.
 *
 * After schema_check() said 0 the files that make rows may take for granted: every field that is
 * there is known, of its type, within its bounds and of its form, and required fields are there.
 * They look only at what one field cannot say. */
#ifndef NODEPROXY_STORE_RESOURCE_SCHEMA_H
#define NODEPROXY_STORE_RESOURCE_SCHEMA_H

#include "nodeproxy/lib/doc/doc.h"
#include "store/rows.h"

enum schema_type {
	SCHEMA_TEXT, SCHEMA_CHOICE, SCHEMA_NUMBER, SCHEMA_FLAG, SCHEMA_TIME, SCHEMA_QUANTITY,
	SCHEMA_DURATION, SCHEMA_PORTREF, SCHEMA_OBJ, SCHEMA_OBJS, SCHEMA_TEXTS, SCHEMA_MAP,
	SCHEMA_ANY, SCHEMA_NUMBERS, SCHEMA_CHOICES,
};

/* What a text must look like. */
enum schema_form {
	FORM_ANY,		/* anything printable */
	FORM_LINES,		/* the same, in lines */
	FORM_DNS_LABEL,		/* RFC 1123: lower-case letters, digits, - inside, 63 bytes */
	FORM_DNS_NAME,		/* such labels and dots, 253 bytes */
	FORM_LABEL_KEY,		/* [dns.name/]name, as Kubernetes has it for labels */
	FORM_LABELS,		/* of a MAP: keys as above, values 63 bytes of letters, digits, -_. */
	FORM_ANNOTATIONS,	/* of a MAP: keys as above, any values */
	FORM_CLUSTER_IP,	/* an address, None or empty */
	FORM_ENDPOINT_IP,	/* an address that can be one endpoint */
	FORM_IP_FAMILY,		/* IPv4 or IPv6 */
	FORM_TOKEN,		/* RFC 9110: name of a header or cookie */
	FORM_PATH,		/* path of a URI, as HTTPRoute has it */
	FORM_HOSTNAME,		/* DNS name, perhaps with *. before it */
	FORM_GRPC_SERVICE,	/* package.Service */
	FORM_GRPC_METHOD,
	FORM_HEADER_NAME,	/* a token of HTTP; as member of a list at most 256 bytes */
	FORM_METHOD,		/* those that routes know, or * */
	FORM_ORIGIN,		/* scheme://host[:port] with a * at the start of host, or * */
	FORM_HEADER_VALUE,	/* what a header may have as its value, without blanks around it */
	FORM_STATUSES,		/* of HTTP: 200, or from 200-299 */
};

/* What FORM_STATUSES says. */
bool schema_statuses(struct slice, uint16_t *ret_from, uint16_t *ret_to);

enum schema_word { SCHEMA_SERVED, SCHEMA_INERT, SCHEMA_DROPPED, SCHEMA_REFUSED };

enum schema_object {
	SCHEMA_NO_OBJECT,
#define OBJECT(o) SCHEMA_##o,
#include "store/resource/kinds.def"
	SCHEMA_OBJECTS
};

struct schema_field {
	enum schema_object object;	/* whose field */
	const char *name;
	enum schema_type type;
	enum schema_form form;
	enum schema_object of;		/* OBJ, OBJS */
	enum schema_word word;
	bool required;
	int64_t min, max;		/* NUMBER, NUMBERS, QUANTITY: value; DURATION: ms; TEXT: bytes;
					 * lists: members */
	const char *values, *later;	/* CHOICE, CHOICES: "a|b" */
	const char *help;
};

struct schema_kind {
	enum row_kind row;
	const char *kind;
	const char *versions;		/* "group/v1|group/v1beta1", newest first */
	bool namespaced;
	enum schema_object object;
	const char *help;
};

/* Entries of NUMBERS and CHOICES. */
#define SCHEMA_LIST_MAX 256

/* The i-th row; NULL after the last. */
const struct schema_kind *schema_kind_at(unsigned i);
const struct schema_field *schema_field_at(unsigned i);
/* The names of all kinds, with commas; returns out. */
const char *schema_kinds(char *out, size_t room);
/* The i-th field of an object; NULL after the last. */
const struct schema_field *schema_field_of(enum schema_object, unsigned i);

/* The judgement on one document: where and why it is refused. */
#define JUDGE_TEXT 512
struct judge {
	uint32_t line;
	char field[JUDGE_TEXT];
	char reason[JUDGE_TEXT];
};

/* Says which field the next refuse() is about. */
void judge_field(struct judge *, const char *fmt, ...) printf_like(2, 3);
/* Notes the reason; -EINVAL. */
int judge_refuse(struct judge *, uint32_t line, const char *fmt, ...) printf_like(3, 4);

/* Which kind it is, or a refusal. */
must_use int schema_kind_of(struct judge *, const struct doc_node *root,
			    const struct schema_kind **ret);
/* Holds the document to its rows, and hides what is DROPPED.  0 or -EINVAL. */
must_use int schema_check(struct judge *, const struct schema_kind *, struct doc_node *root);

/* Readers of checked texts. */
must_use bool schema_time(struct slice, int64_t *ret_unix_ms);		/* RFC 3339 */
must_use bool schema_quantity(struct slice, uint64_t *ret);		/* 64Mi, 1.5G, 100k … rounded up */
must_use bool schema_duration(struct slice, uint32_t *ret_ms);	/* GEP-2257: 1h30m, 500ms */
/* As GEP-2257 wants it written: "1h30m", "0s"; returns out. */
#define SCHEMA_DURATION_TEXT 32
const char *schema_duration_text(uint32_t ms, char out[SCHEMA_DURATION_TEXT]);
bool schema_is_dns_label(struct slice);
bool schema_is_dns_name(struct slice);

#endif
