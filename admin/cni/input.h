/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a container runtime tells a CNI plugin: words in the environment and one JSON object on
 * standard input (containernetworking/cni, SPEC.md 1.0.0).  Both are hostile until they are looked at
 * here; what is left is bounded, and complete for the command that was asked for. */
#ifndef ADMIN_CNI_INPUT_H
#define ADMIN_CNI_INPUT_H

#include "admin/text.h"

#define CNI_VERSION	"1.0.0"
#define CNI_INPUT_BYTES (1u << 20)

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_SAY_VERSION, CNI_COMMANDS };

/* SPEC.md, "Error"; from 100 on they are ours. */
enum cni_code {
	CNI_BAD_VERSION = 1, CNI_BAD_FIELD = 2, CNI_BAD_ENV = 4, CNI_IO = 5, CNI_UNDECODABLE = 6,
	CNI_BAD_CONFIG = 7, CNI_TRY_LATER = 11, CNI_REFUSED = 100, CNI_NOT_CAPTURED = 101,
};

struct cni_error {
	enum cni_code code;
	char msg[256], details[512];
};

/* The environment; NULL: not set. */
struct cni_env {
	const char *command, *netns, *args;
};

struct cni_input {
	enum cni_command command;
	char version[16];	/* of the configuration, for every answer */
	char socket[108];
	bool open;		/* whenAway: open */
	int seconds;		/* timeoutSeconds */
	char name[64], ns[64], account[64], netns[192];	/* of the pod; DEL: netns may be "" */
	char labels[256];	/* k=v,k=v */
	json_t *config;		/* all of it */
	const json_t *result;	/* ADD: prevResult, in it */
};

/* 0; or -1 with why.  cni_input_fini() in either case. */
must_use int cni_input_read(const struct cni_env *, struct slice json, struct cni_input *ret,
			    struct cni_error *ret_error);
void cni_input_fini(struct cni_input *);
/* -1: so that a reason can be returned where it is given. */
int cni_fail(struct cni_error *, enum cni_code, const char *msg, const char *details);

#endif
