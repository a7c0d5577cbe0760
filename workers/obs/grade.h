/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Grades of shortage: the table of grades.def as a pure function. */
#ifndef NODEPROXY_WORKERS_OBS_GRADE_H
#define NODEPROXY_WORKERS_OBS_GRADE_H

#include "nodeproxy/lib/base/must.h"

enum grade {
#define GRADE(name, enter, leave, words) GRADE_##name,
#include "workers/obs/grades.def"
	GRADES
};

/* The grade after now, when used of limit bytes are held; limit 0: there is none. */
enum grade grade_next(enum grade now, size_t used, size_t limit);
/* Bytes of limit below which a grade is left. */
size_t grade_leave_bytes(enum grade, size_t limit);
const char *grade_name(unsigned);	/* "?" when there is none such */
const char *grade_words(unsigned);

#endif
