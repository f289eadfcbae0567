/* SPDX-License-Identifier: MIT */
#include "lib/checkout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/alloc.h"
#include "lib/own.h"

/* Room for the list of a tree's files: 100,000 paths of 300 bytes, with their sizes. */
enum { LIST_MIB = 32, PATH_LENGTH_MAX = 2048, NAME_LENGTH_MAX = 255 };

void
submodules_clear(struct submodules *submodules)
{
	for (size_t i = 0; i < submodules->count; i++) {
		free(submodules->list[i].path);
		free(submodules->list[i].url);
	}
	free(submodules->list);
	*submodules = (struct submodules){0};
}

/* Run git and give its output, which may hold NULs, with one NUL behind it; free() it. */
static char *
bytes_of(const struct git *git, const char *const arguments[], size_t *length, struct failure *why)
{
	auto_close int fd = memfd_create("git", MFD_CLOEXEC);
	const struct git_command command = {
	    .arguments = arguments, .output_fd = fd, .file_mib = LIST_MIB, .alone = true};
	auto_free char *bytes = NULL;
	struct stat about;

	if (fd == -1) {
		(void)fail(why, EX_TEMPFAIL, "cannot check out", git->url->shown, strerror(errno));
		return NULL;
	}
	if (git_run(git, &command, NULL, why) == -1)
		return NULL;
	if (fstat(fd, &about) == -1) {
		(void)fail(why, EX_TEMPFAIL, "cannot check out", git->url->shown, strerror(errno));
		return NULL;
	}
	*length = (size_t)about.st_size;
	bytes = xcalloc(*length + 1, 1);
	if (pread(fd, bytes, *length, 0) != (ssize_t)*length) {
		(void)fail(why, EX_TEMPFAIL, "cannot check out", git->url->shown, strerror(errno));
		return NULL;
	}
	return steal(bytes);
}

static int
over(const struct git *git, struct failure *why)
{
	auto_free char *reason =
	    xasprintf("more than %d files or %ld MiB (STARPHLEET_REPOSITORY_LIMIT)",
		CHECKOUT_FILES_MAX, git->size_mib);

	return fail(why, EX_CONFIG, "cannot check out", git->url->shown, reason);
}

/* True if a path may be too long to be opened in the places where it will be. */
static bool
too_long(const char *path)
{
	if (strlen(path) > PATH_LENGTH_MAX)
		return true;
	for (size_t length; *path != '\0'; path += length + (path[length] == '/'))
		if ((length = strcspn(path, "/")) > NAME_LENGTH_MAX)
			return true;
	return false;
}

/* One entry of `ls-tree -l -z`: "mode type object size\tpath". */
static int
entry(const struct git *git, const char *line, struct budget *budget, struct submodules *submodules,
    struct failure *why)
{
	const char *tab = strchr(line, '\t');
	char mode[8], type[16], object[GIT_COMMIT + 1], size[24];

	if (tab == NULL || sscanf(line, "%7s %15s %40s %23s", mode, type, object, size) != 4)
		return fail(why, EX_SOFTWARE, "cannot check out", git->url->shown,
		    "ls-tree is not understood");
	if (too_long(tab + 1))
		return fail(why, EX_CONFIG, "cannot check out", git->url->shown,
		    "a path is longer than 2048 bytes, or a name than 255");
	submodules->described = submodules->described || strcmp(tab + 1, ".gitmodules") == 0;
	if (strcmp(type, "commit") == 0) {
		submodules->list = xreallocarray(
		    submodules->list, submodules->count + 1, sizeof *submodules->list);
		submodules->list[submodules->count] = (struct submodule){.path = xstrdup(tab + 1)};
		memcpy(submodules->list[submodules->count++].commit, object, sizeof object);
		return 0;
	}
	budget->files--;
	/* A symbolic link or an empty file takes a block as well. */
	budget->bytes -= strtoll(size, NULL, 10);
	return budget->files < 0 || budget->bytes < 0 ? over(git, why) : 0;
}

/* Count what commit would write, before a byte of it is written. */
static int
survey(const struct git *git, const char *commit, struct budget *budget,
    struct submodules *submodules, struct failure *why)
{
	const char *const arguments[] = {"ls-tree", "-r", "-l", "-z", "--full-tree", commit, NULL};
	auto_free char *list = NULL;
	size_t length = 0;

	list = bytes_of(git, arguments, &length, why);
	if (list == NULL)
		return why->code == EX_CONFIG ? over(git, why) : -1;
	for (const char *line = list; line < list + length; line += strlen(line) + 1)
		if (entry(git, line, budget, submodules, why) == -1)
			return -1;
	return 0;
}

/* The value of key in `git config -z --get-regexp`'s "key\nvalue\0"…; the last one wins. */
static const char *
value_of(const char *list, size_t length, const char *key)
{
	size_t key_length = strlen(key);
	const char *value = NULL;

	for (const char *line = list; line < list + length; line += strlen(line) + 1)
		if (strncmp(line, key, key_length) == 0 && line[key_length] == '\n')
			value = line + key_length + 1;
	return value;
}

/* The URL that .gitmodules has for path; lent; NULL: none. */
static const char *
url_of(const char *list, size_t length, const char *path)
{
	const char *const tail = ".path\n";

	for (const char *line = list; line < list + length; line += strlen(line) + 1) {
		const char *end = strchr(line, '\n');
		auto_free char *key = NULL;

		if (end == NULL || strcmp(end + 1, path) != 0 || end - line < (long)strlen(tail) ||
		    strncmp(end + 1 - strlen(tail), tail, strlen(tail)) != 0)
			continue;
		key = xasprintf("%.*s.url", (int)(end + 1 - line - (long)strlen(tail)), line);
		return value_of(list, length, key);
	}
	return NULL;
}

/* Find each submodule's URL; one without is an error, as it is for `git submodule`. */
static int
submodules_resolve(
    const struct git *git, const char *commit, struct submodules *submodules, struct failure *why)
{
	auto_free char *blob = xasprintf("%s:.gitmodules", commit);
	const char *const arguments[] = {
	    "config", "-z", "--no-includes", "--blob", blob, "--list", NULL};
	auto_free char *list = NULL;
	size_t length = 0;

	if (submodules->count == 0)
		return 0;
	list = submodules->described ? bytes_of(git, arguments, &length, why) : xstrdup("");
	if (list == NULL) {
		if (strstr(why->message, "bad config") != NULL)
			why->code = EX_CONFIG;
		return -1;
	}
	for (size_t i = 0; i < submodules->count; i++) {
		struct submodule *module = &submodules->list[i];
		const char *url = url_of(list, length, module->path);

		if (url == NULL)
			return fail(why, EX_CONFIG, "submodule without a URL in .gitmodules",
			    git->url->shown, module->path);
		module->url = xstrdup(url);
	}
	return 0;
}

int
checkout(const struct git *git, const char *commit, const char *into, struct budget *budget,
    struct submodules *submodules, struct failure *why)
{
	auto_free char *index = xasprintf("%s/starphleet-index", git->directory);
	auto_free char *lock = xasprintf("%s.lock", index);
	const char *const arguments[] = {"read-tree", "--reset", "-u", commit, NULL};
	const struct git_command command = {
	    .arguments = arguments, .index = index, .work_tree = into, .alone = true};
	int result;

	if (survey(git, commit, budget, submodules, why) == -1 ||
	    submodules_resolve(git, commit, submodules, why) == -1)
		return -1;
	(void)unlink(index); /* of one that was killed: the repository's lock is ours */
	(void)unlink(lock);
	result = git_run(git, &command, NULL, why);
	(void)unlink(index);
	return result;
}
