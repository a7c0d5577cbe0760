/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What schema.c asks schema_form.c. */
#ifndef NODEPROXY_STORE_RESOURCE_SCHEMA_INNER_H
#define NODEPROXY_STORE_RESOURCE_SCHEMA_INNER_H

#include "store/resource/schema.h"

/* What is wrong with a text of this form, in words; NULL: nothing. */
const char *schema_form_wrong(enum schema_form, struct slice);
/* [dns.name/]name: of a label or an annotation. */
bool schema_is_label_key(struct slice);

#endif
