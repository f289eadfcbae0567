/* SPDX-License-Identifier: MIT */
#include "lib/sandbox-memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/own.h"

/* Deeper than any process limit of ours allows. */
enum { DEPTH_MAX = 1024 };

static size_t
own_memory(pid_t pid)
{
	auto_free char *path = xasprintf("/proc/%d/smaps_rollup", (int)pid);
	auto_fclose FILE *file = fopen(path, "re");
	auto_free char *line = NULL;
	size_t room = 0, kib = 0;

	while (file != NULL && getline(&line, &room, file) != -1)
		if (sscanf(line, "Pss: %zu", &kib) == 1)
			break;
	return kib * 1024;
}

static size_t
memory_below(pid_t pid, int depth)
{
	/* Whoever loses its parent inside becomes a child of process 1 there, so we miss nobody. */
	auto_free char *path = xasprintf("/proc/%d/task/%d/children", (int)pid, (int)pid);
	auto_fclose FILE *file = fopen(path, "re");
	size_t sum = own_memory(pid);
	int child;

	while (file != NULL && depth < DEPTH_MAX && fscanf(file, "%d", &child) == 1)
		sum += memory_below((pid_t)child, depth + 1);
	return sum;
}

size_t
sandbox_memory(pid_t pid)
{
	return memory_below(pid, 0);
}
