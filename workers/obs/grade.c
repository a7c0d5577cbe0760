/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grade.h. */
#include "workers/obs/grade.h"

static const struct {
	const char *name;
	uint8_t enter, leave;
	const char *words;
} rows[GRADES] = {
#define GRADE(name, enter, leave, words) { #name, enter, leave, words },
#include "workers/obs/grades.def"
};

enum grade grade_next(enum grade now, size_t used, size_t limit)
{
	size_t percent = limit / 100 ? used / (limit / 100) : 0;

	if (limit == 0)
		return GRADE_calm;
	while (now > GRADE_calm && percent < rows[now].leave)
		now--;
	while (now + 1 < GRADES && percent >= rows[now + 1].enter)
		now++;
	return now;
}

size_t grade_leave_bytes(enum grade g, size_t limit)
{
	return limit / 100 * rows[g].leave;
}

const char *grade_name(unsigned g)
{
	return g < GRADES ? rows[g].name : "?";
}

const char *grade_words(unsigned g)
{
	return g < GRADES ? rows[g].words : "?";
}
