/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* main() of a fuzz target outside the fuzzer: replays every file of corpus/NAME and found/NAME
 * (NAME: the program's name after "fuzz_"), then a few thousand seeded mutations of them, so that
 * `make check` also tries what nobody wrote down.  Fails when there is no corpus at all. */
#include "tests/fuzz/replay.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/rand.h"

#define INPUT_MAX (1u << 20)
#define MUTATIONS 40	/* of each file */

static uint8_t input[INPUT_MAX], mutant[INPUT_MAX];

static void mutate(size_t n)
{
	for (int i = 0; i < MUTATIONS && n; i++) {
		uint8_t *copy;
		size_t len = n;

		memcpy(mutant, input, n);
		for (uint32_t k = rand_below(8) + 1; k && len; k--) {
			size_t at = rand_below((uint32_t)len);

			switch (rand_below(4)) {
			case 0:
				mutant[at] = (uint8_t)rand_u32();
				break;
			case 1:
				mutant[at] ^= (uint8_t)(1u << rand_below(8));
				break;
			case 2:
				len = at + 1;
				break;
			case 3:
				memmove(mutant + at, mutant + at / 2, len - at);
				break;
			}
		}
		copy = malloc(len);	/* exactly len bytes: the sanitizer sees the first one past it */
		if (copy) {
			memcpy(copy, mutant, len);
			LLVMFuzzerTestOneInput(copy, len);
		}
		free(copy);
	}
}

static unsigned replay_dir(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned files = 0;

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[4096];
		uint8_t *copy;
		size_t n;
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		f = fopen(path, "rb");
		if (f == NULL)
			continue;
		n = fread(input, 1, sizeof input, f);
		fclose(f);
		copy = malloc(n ? n : 1);
		if (copy) {
			memcpy(copy, input, n);
			LLVMFuzzerTestOneInput(copy, n);
		}
		free(copy);
		mutate(n);
		files++;
	}
	if (d)
		closedir(d);
	return files;
}

int main(int argc, char **argv)
{
	const char *top = getenv("top_srcdir"), *name = strrchr(argv[0], '/');
	char dir[1024];
	unsigned files;

	never_aborts = true;
	rand_seed(1);
	if (argc > 1)
		return replay_dir(argv[1]) ? 0 : 1;
	name = name ? name + 1 : argv[0];
	name = strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name;
	snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", top ? top : ".", name);
	files = replay_dir(dir);
	if (files == 0) {
		fprintf(stderr, "%s: no corpus\n", dir);
		return 1;
	}
	snprintf(dir, sizeof dir, "%s/tests/fuzz/found/%s", top ? top : ".", name);
	files += replay_dir(dir);
	printf("%s: %u inputs, %u mutations\n", name, files, files * MUTATIONS);
	return 0;
}
