/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See metrics_inner.h. */
#include "admin/metrics_inner.h"

static const struct { const char *name, *type, *help; } metrics[] = {
#define GAUGE	"gauge"
#define COUNTER "counter"
#define METRIC(id, name, type, labels, help) [M_##id] = { name, type, help },
#include "admin/metrics.def"
};

const char *metrics_name(enum metric m)
{
	return metrics[m].name;
}

void metrics_family(struct text *t, const char *name, const char *type, const char *help)
{
	text_printf(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

const char *metrics_begin(struct text *t, enum metric m)
{
	metrics_family(t, metrics[m].name, metrics[m].type, metrics[m].help);
	return metrics[m].name;
}

void metrics_label(struct text *t, char before, const char *name, struct slice v)
{
	text_addc(t, before);
	text_adds(t, name);
	text_adds(t, "=\"");
	for (size_t i = 0; i < v.n; i++) {
		uint8_t c = v.p[i];

		if (c == '\\' || c == '"')
			text_addc(t, '\\');
		if (c == '\n')
			text_adds(t, "\\n");
		else
			text_addc(t, c < 0x20 || c >= 0x7f ? '?' : (char)c);
	}
	text_addc(t, '"');
}

void metrics_value(struct text *t, uint64_t v)
{
	text_adds(t, "} ");
	text_u64(t, v);
	text_addc(t, '\n');
}

void metrics_plain(struct text *t, enum metric m, uint64_t v)
{
	text_printf(t, "%s %llu\n", metrics_begin(t, m), (unsigned long long)v);
}

void metrics_seconds(struct text *t, uint64_t ns)
{
	text_printf(t, " %llu.%09llu\n", (unsigned long long)(ns / NS_PER_S),
		    (unsigned long long)(ns % NS_PER_S));
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

void metrics_row_value(struct text *t, const struct counter_row *row, uint64_t v)
{
	text_addc(t, '}');
	if (ends_with(row->name, "_ns") || ends_with(row->name, "_ns_gauge")) {
		metrics_seconds(t, v);
	} else {
		text_addc(t, ' ');
		text_u64(t, v);
		text_addc(t, '\n');
	}
}

const char *metrics_type_of(const struct counter_row *row)
{
	return ends_with(row->name, "_gauge") ? "gauge" : "counter";
}

void metrics_bucket_end(struct text *t, unsigned i, uint64_t sum)
{
	if (i == HIST_BUCKETS - 1)
		text_adds(t, ",le=\"+Inf\"");
	else
		text_printf(t, ",le=\"%.10g\"", (double)hist_until_ns(i) / 1e9);
	metrics_value(t, sum);
}
