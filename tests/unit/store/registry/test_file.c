/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The registry of files: objects are changed where people wrote them, nothing else is, and nobody's
 * change is lost. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/registry/edit.h"
#include "store/registry/file.h"
#include "tests/unit/test.h"

static char dir[64], problem[512];
static struct registry *reg;

/* JSON is YAML. */
static char *render(const char *json, bool as_json)
{
	char *text = malloc(strlen(json) + 32);

	sprintf(text, "%s%s\n", json, as_json ? "" : " # rendered");
	return text;
}

static void begin(void)
{
	snprintf(dir, sizeof dir, "/tmp/np-registry.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void end(void)
{
	char command[128];

	registry_close(&reg);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static const char *path_of(const char *name)
{
	static char path[400];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static const char *read_file(const char *name)
{
	static char text[8192];
	FILE *f = fopen(path_of(name), "r");
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
	return f ? text : "absent";
}

static void open_path(const char *path)
{
	registry_close(&reg);
	ck_assert_msg(registry_file_open(path, render, 0, &reg, problem) == REGISTRY_DONE, "%s", problem);
}

#define SERVICE(name, port)                                                                        \
	"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"" name               \
	"\",\"namespace\":\"shop\"},\"spec\":{\"ports\":[{\"port\":" port "}]}}"
#define YAML(name, port)                                                                           \
	"apiVersion: v1\nkind: Service\nmetadata: {name: " name ", namespace: shop}\n"             \
	"spec:\n  ports:\n  - port: " port "   # inside\n"

static const struct registry_key web = { "", "Service", "shop", "web" };
static const struct registry_key two = { "", "Service", "shop", "two" };

static uint64_t version_of(const struct registry_key *k)
{
	struct registry_value v;
	uint64_t version;

	ck_assert_msg(registry_get(reg, k, &v) == REGISTRY_DONE, "%s", reg->problem);
	version = v.version;
	registry_value_fini(&v);
	return version;
}

static enum registry_error put(const struct registry_key *k, const char *json, uint64_t version)
{
	return registry_put_if(reg, k, slice_str(json), version, NULL);
}

START_TEST(a_new_object_gets_a_file_of_its_own)
{
	struct registry_value v;
	char *where = NULL;

	begin();
	open_path(dir);
	ck_assert_uint_eq(version_of(&web), 0);
	ck_assert_int_eq(registry_put_if(reg, &web, slice_str(SERVICE("web", "80")), 0, &where),
			 REGISTRY_DONE);
	ck_assert_str_eq(where, "service.shop.web.yaml:1");
	free(where);
	ck_assert_str_eq(read_file("service.shop.web.yaml"), SERVICE("web", "80") " # rendered\n");
	ck_assert_int_eq(registry_get(reg, &web, &v), REGISTRY_DONE);
	ck_assert_str_eq(v.json, SERVICE("web", "80"));
	ck_assert_str_eq(v.where, "service.shop.web.yaml:1");
	registry_value_fini(&v);
	ck_assert_str_eq(read_file(".nodeproxyctl.tmp"), "absent");
	ck_assert_int_eq(put(&web, SERVICE("web", "81"), 0), REGISTRY_CONFLICT);
	ck_assert_int_eq(registry_delete_if(reg, &web, 5), REGISTRY_CONFLICT);
	ck_assert_int_eq(registry_delete_if(reg, &web, version_of(&web)), REGISTRY_DONE);
	ck_assert_str_eq(read_file("service.shop.web.yaml"), "absent");
	ck_assert_int_eq(put(&web, SERVICE("web", "81"), 0), REGISTRY_DONE);
	end();
}
END_TEST

#define HEAD "# the shop, by hand\n---\n# web: careful\n"
#define TAIL "# behind\n\n---\n" YAML("two", "82") "...\n# the end"

START_TEST(an_object_among_others_is_changed_in_place)
{
	struct stat st;

	begin();
	write_file("shop.yaml", HEAD YAML("web", "80") TAIL);
	ck_assert_int_eq(chmod(path_of("shop.yaml"), 0640), 0);
	open_path(dir);
	ck_assert_int_eq(put(&web, SERVICE("web", "81"), version_of(&web)), REGISTRY_DONE);
	ck_assert_str_eq(read_file("shop.yaml"), HEAD SERVICE("web", "81") " # rendered\n" TAIL);
	ck_assert_int_eq(stat(path_of("shop.yaml"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	/* the other one, which was not touched, still is what it was */
	ck_assert_int_eq(put(&two, SERVICE("two", "83"), version_of(&two)), REGISTRY_DONE);
	ck_assert_int_eq(registry_delete_if(reg, &two, version_of(&two)), REGISTRY_DONE);
	ck_assert_int_eq(registry_delete_if(reg, &web, version_of(&web)), REGISTRY_DONE);
	ck_assert_str_eq(read_file("shop.yaml"), "# the shop, by hand\n# behind\n\n...\n# the end");
	end();
}
END_TEST

START_TEST(forms_of_documents_are_kept)
{
	static const struct { const char *name, *before, *after; } cases[] = {
		{ "a.yaml", "--- " SERVICE("web", "80"), "---\n" SERVICE("web", "81") " # rendered\n" },
		{ "a.json", SERVICE("web", "80"), SERVICE("web", "81") "\n" },
		{ "a.yml", "%YAML 1.1\n---\n" YAML("web", "80"),
		  "%YAML 1.1\n---\n" SERVICE("web", "81") " # rendered\n" },
		{ "a.yaml", "\xef\xbb\xbf" YAML("web", "80"),
		  "\xef\xbb\xbf" SERVICE("web", "81") " # rendered\n" },
		{ "a.yaml", "---\nkind: Nonsense\n---\n" YAML("web", "80") "---\nbroken: [\n---\n",
		  "---\nkind: Nonsense\n---\n" SERVICE("web", "81")
		  " # rendered\n---\nbroken: [\n---\n" },
		/* refused, but it is the one: it is repaired */
		{ "a.yaml", YAML("web", "0") "---\n" YAML("two", "1"),
		  SERVICE("web", "81") " # rendered\n---\n" YAML("two", "1") },
	};

	for (size_t i = 0; i < countof(cases); i++) {
		begin();
		write_file(cases[i].name, cases[i].before);
		open_path(dir);
		ck_assert_msg(put(&web, SERVICE("web", "81"), version_of(&web)) == REGISTRY_DONE,
			      "%zu: %s", i, reg->problem);
		ck_assert_str_eq(read_file(cases[i].name), cases[i].after);
		end();
	}
}
END_TEST

START_TEST(what_cannot_be_changed_honestly_is_refused_with_its_place)
{
	static const struct { const char *text, *says; } cases[] = {
		{ YAML("web", "80") "---\n" YAML("web", "81"), "written twice, a.yaml:1 and a.yaml:" },
		{ "---\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\nspec: [\n",
		  "a.yaml:2 seems to be Service shop/web, but cannot be read" },
	};

	for (size_t i = 0; i < countof(cases); i++) {
		struct registry_value v;

		begin();
		write_file("a.yaml", cases[i].text);
		open_path(dir);
		ck_assert_int_eq(registry_get(reg, &web, &v), REGISTRY_UNFIT);
		ck_assert_msg(strstr(reg->problem, cases[i].says) != NULL, "%s", reg->problem);
		ck_assert_int_eq(put(&web, SERVICE("web", "82"), 0), REGISTRY_UNFIT);
		ck_assert_str_eq(read_file("a.yaml"), cases[i].text);
		end();
	}
	begin();
	write_file("real", YAML("web", "80"));
	ck_assert_int_eq(symlink("real", path_of("a.yaml")), 0);
	open_path(dir);
	ck_assert_int_eq(put(&web, SERVICE("web", "82"), version_of(&web)), REGISTRY_UNFIT);
	ck_assert_ptr_nonnull(strstr(reg->problem, "symbolic link"));
	ck_assert_str_eq(read_file("real"), YAML("web", "80"));
	ck_assert_int_eq(mkfifo(path_of("pipe.yaml"), 0600), 0);
	registry_close(&reg);
	ck_assert_int_eq(registry_file_open(dir, render, 0, &reg, problem), REGISTRY_UNFIT);
	ck_assert_str_eq(problem, "pipe.yaml is not a regular file");
	end();
}
END_TEST

START_TEST(an_editor_that_saved_meanwhile_wins)
{
	uint64_t version;

	begin();
	write_file("a.yaml", YAML("web", "80") "---\n" YAML("two", "1"));
	open_path(dir);
	version = version_of(&web);
	write_file("a.yaml", YAML("web", "90") "---\n" YAML("two", "1"));
	ck_assert_int_eq(put(&web, SERVICE("web", "81"), version), REGISTRY_CONFLICT);
	ck_assert_str_eq(reg->problem, "a.yaml was changed meanwhile");
	ck_assert_int_eq(registry_delete_if(reg, &web, version), REGISTRY_CONFLICT);
	/* a change of another document is no conflict, and stays */
	version = version_of(&web);
	write_file("a.yaml", YAML("web", "90") "---\n" YAML("two", "2"));
	ck_assert_int_eq(put(&web, SERVICE("web", "81"), version), REGISTRY_DONE);
	ck_assert_ptr_nonnull(strstr(read_file("a.yaml"), "port: 2"));
	unlink(path_of("a.yaml"));
	ck_assert_int_eq(put(&web, SERVICE("web", "82"), version_of(&web)), REGISTRY_CONFLICT);
	end();
}
END_TEST

START_TEST(one_writer_at_a_time)
{
	struct registry *other;

	begin();
	open_path(dir);
	ck_assert_int_eq(registry_file_open(dir, render, 0, &other, problem), REGISTRY_BUSY);
	ck_assert_ptr_nonnull(strstr(problem, "locked by another writer"));
	/* who only reads needs no lock */
	ck_assert_int_eq(registry_file_open(dir, NULL, 0, &other, problem), REGISTRY_DONE);
	registry_close(&other);
	registry_close(&reg);
	ck_assert_int_eq(registry_file_open(dir, render, 0, &other, problem), REGISTRY_DONE);
	registry_close(&other);
	ck_assert_int_eq(registry_file_open(path_of("none"), render, 0, &other, problem), REGISTRY_AWAY);
	end();
}
END_TEST

START_TEST(one_file_is_a_registry_too)
{
	begin();
	write_file("all.conf", YAML("web", "80"));
	write_file("other.yaml", YAML("two", "80"));
	open_path(path_of("all.conf"));
	ck_assert_uint_eq(version_of(&two), 0);
	ck_assert_int_eq(put(&two, SERVICE("two", "1"), 0), REGISTRY_DONE);
	ck_assert_str_eq(read_file("all.conf"), YAML("web", "80") "---\n" SERVICE("two", "1") " # rendered\n");
	ck_assert_int_eq(registry_delete_if(reg, &web, version_of(&web)), REGISTRY_DONE);
	ck_assert_int_eq(registry_delete_if(reg, &two, version_of(&two)), REGISTRY_DONE);
	ck_assert_str_eq(read_file("all.conf"), "");	/* never removed: that would be a lost source */
	end();
}
END_TEST

START_TEST(names_that_are_too_long_for_a_file_get_another)
{
	char name[254], json[512];
	struct registry_key k = { "gateway.networking.k8s.io", "ReferenceGrant", "shop", name };

	begin();
	for (size_t i = 0; i < 253; i++)
		name[i] = i % 50 == 49 ? '.' : 'a';
	name[253] = 0;
	snprintf(json, sizeof json, "{\"apiVersion\":\"gateway.networking.k8s.io/v1\",\"kind\":"
		 "\"ReferenceGrant\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"shop\"},\"spec\":{"
		 "\"from\":[{\"group\":\"gateway.networking.k8s.io\",\"kind\":\"HTTPRoute\","
		 "\"namespace\":\"a\"}],\"to\":[{\"group\":\"\",\"kind\":\"Service\"}]}}", name);
	open_path(dir);
	ck_assert_msg(put(&k, json, 0) == REGISTRY_DONE, "%s", reg->problem);
	open_path(dir);
	ck_assert_uint_ne(version_of(&k), 0);
	end();
}
END_TEST

static bool count(void *arg, const struct registry_key *k, const struct registry_value *v)
{
	char *said = arg;

	sprintf(said + strlen(said), "%s/%s%s ", k->ns, k->name, v->refusal ? "!" : "");
	return true;
}

START_TEST(a_list_has_refused_ones_too)
{
	char said[256] = "";

	begin();
	write_file("a.yaml", YAML("web", "0") "---\n" YAML("two", "1") "---\nkind: Tenant\nmetadata: {name: x}\n"
			     "---\nnobody: 1\n");
	open_path(dir);
	ck_assert_int_eq(registry_list(reg, "Service", "shop", count, said), REGISTRY_DONE);
	ck_assert_str_eq(said, "shop/web! shop/two ");
	said[0] = 0;
	ck_assert_int_eq(registry_list(reg, NULL, NULL, count, said), REGISTRY_DONE);
	ck_assert_str_eq(said, "shop/web! shop/two /x! ");
	end();
}
END_TEST

UNIT_TESTS("registry_file", a_new_object_gets_a_file_of_its_own,
	   an_object_among_others_is_changed_in_place, forms_of_documents_are_kept,
	   what_cannot_be_changed_honestly_is_refused_with_its_place,
	   an_editor_that_saved_meanwhile_wins, one_writer_at_a_time, one_file_is_a_registry_too,
	   names_that_are_too_long_for_a_file_get_another, a_list_has_refused_ones_too)
