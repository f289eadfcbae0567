/* SPDX-License-Identifier: MIT */
#include "lib/clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/state.h"

enum { AGAIN_S = 60, AGAIN_CONFIG_S = 3600, REFUSED_S = 600, PACKS_MAX = 40 };

/* Remove the entries of the folder path whose names begin with prefix; how many others there are.
 */
static int
remove_beginning(const char *path, const char *prefix)
{
	auto_closedir DIR *list = opendir(path);
	const struct dirent *entry;
	int others = 0;

	while (list != NULL && (entry = readdir(list)) != NULL) {
		auto_failure struct failure ignored = {0};
		auto_free char *name = xasprintf("%s/%s", path, entry->d_name);

		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			(void)tree_remove(name, &ignored);
		else
			others++;
	}
	return others;
}

/* Clear away what a killed git left: we hold the lock, so nobody works here. */
static int
tidy(const struct repository *repository, const char *directory)
{
	auto_free char *shallow = xasprintf("%s/shallow.lock", directory);
	auto_free char *packs = xasprintf("%s/objects/pack", directory);

	(void)remove_beginning(repository->home, ".git.");
	(void)unlink(shallow);
	return remove_beginning(packs, "tmp_");
}

/* Each fetch leaves a pack; before they slow git down they become one. Failing harms nobody. */
static void
pack(const struct git *git)
{
	const char *const arguments[] = {"gc", "--quiet", "--prune=now", NULL};
	const struct git_command command = {.arguments = arguments};
	auto_failure struct failure ignored = {0};

	(void)git_run(git, &command, NULL, &ignored);
}

/* Fetch into the clone that there is, unless the very commit is there. */
static int
update(const struct git *git, struct wanted *wanted, struct failure *why)
{
	if (wanted->name == NULL && wanted->abbreviated == NULL && fetch_has(git, wanted->commit))
		return 0;
	return fetch_wanted(git, wanted, why);
}

/* Write the files, into a directory of which nothing is left from an earlier try. */
static int
write_out(const struct git *git, const struct wanted *wanted, const char *into,
    struct budget *budget, struct submodules *submodules, struct failure *why)
{
	struct budget all = *budget;

	submodules_clear(submodules);
	if (tree_remove(into, why) == -1)
		return -1;
	if (mkdir(into, 0755) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", into, strerror(errno));
	if (checkout(git, wanted->commit, into, budget, submodules, why) == 0)
		return 0;
	*budget = all;
	return -1;
}

/* True if the file path was written more than seconds ago, or is not there. */
static bool
is_older(const char *path, long seconds)
{
	struct stat about;

	/* Ahead of us: the clock was set back. */
	return stat(path, &about) == -1 || labs(time(NULL) - about.st_mtime) >= seconds;
}

/* True if a new clone may help against why and none was tried of late; then it is noted. */
static bool
may_clone_again(const struct repository *repository, const struct failure *why)
{
	auto_free char *mark = xasprintf("%s/cloned-again", repository->home);
	auto_failure struct failure ignored = {0};
	/* A commit that does not exist looks like one that was lost; it is rather the former. */
	long pause_s = why->code == EX_CONFIG ? AGAIN_CONFIG_S : AGAIN_S;

	if (state_now_ms() >= repository->deadline_ms || !is_older(mark, pause_s))
		return false;
	return file_replace(mark, "", 0, 0600, &ignored) == 0;
}

/* Put the clone made at fresh in the place of the one at directory, if there is one. */
static int
swap(const char *fresh, const char *directory, struct failure *why)
{
	auto_failure struct failure ignored = {0};

	if (rename(fresh, directory) == 0)
		return 0;
	if (renameat2(AT_FDCWD, fresh, AT_FDCWD, directory, RENAME_EXCHANGE) == -1)
		return fail(why, failure_code_of_errno(errno), "cannot rename to", directory,
		    strerror(errno));
	(void)tree_remove(fresh, &ignored);
	return 0;
}

/* A clone made anew beside; it takes its place as soon as it has what is wanted. */
static int
clone_again(const struct repository *repository, const struct git *git, struct wanted *wanted,
    struct failure *why)
{
	auto_free char *fresh = xasprintf("%s/.git.XXXXXX", repository->home);
	auto_failure struct failure ignored = {0};
	struct git beside = *git;

	if (mkdtemp(fresh) == NULL)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", fresh, strerror(errno));
	beside.directory = fresh;
	if (fetch_init(&beside, why) == 0 && fetch_wanted(&beside, wanted, why) == 0 &&
	    swap(fresh, git->directory, why) == 0)
		return 0;
	(void)tree_remove(fresh, &ignored);
	return -1;
}

/*
 * Where it is kept that a commit will never do, "<commit> <MiB>\n<message>", so that it is not
 * loaded at each pulse. Not for ever: memory that was short looks like a repository too large.
 */
static char *
refusal_path(const struct repository *repository)
{
	return xasprintf("%s/refused", repository->home);
}

/* True, and noted, if why lies in the commit itself and our limits: a new clone cannot help. */
static bool
refuse_for_good(const struct repository *repository, const struct wanted *wanted, bool fetched,
    const struct failure *why)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = refusal_path(repository);
	auto_free char *text =
	    xasprintf("%s %ld\n%s", wanted->commit, repository->size_mib, why->message);

	if (!git_too_large(why) && !(fetched && why->code == EX_CONFIG))
		return false;
	if (*wanted->commit != '\0')
		(void)file_replace(path, text, strlen(text), 0600, &ignored);
	return true;
}

/* True, with *why as it was then, if this commit was refused of late. */
static bool
refused_before(
    const struct repository *repository, const struct wanted *wanted, struct failure *why)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = refusal_path(repository);
	auto_free char *text = file_read(path, 4096, NULL, &ignored);
	auto_free char *start = xasprintf("%s %ld\n", wanted->commit, repository->size_mib);

	if (text == NULL || strncmp(text, start, strlen(start)) != 0 || is_older(path, REFUSED_S))
		return false;
	(void)fail(why, EX_CONFIG, text + strlen(start), NULL, NULL);
	return true;
}

int
clone_checkout(const struct repository *repository, struct wanted *wanted, const char *into,
    struct budget *budget, struct submodules *submodules, struct failure *why)
{
	auto_free char *directory = xasprintf("%s/git", repository->home);
	const struct git git = {.settings = repository->settings,
	    .url = repository->url,
	    .directory = directory,
	    .deadline_ms = repository->deadline_ms,
	    .size_mib = repository->size_mib};
	int packs = tidy(repository, directory);
	bool fetched;

	if (refused_before(repository, wanted, why))
		return -1;
	if (fetch_is_clone(&git)) {
		if (packs > PACKS_MAX * 2) /* each has an index beside it */
			pack(&git);
		fetched = update(&git, wanted, why) == 0;
		if (fetched && write_out(&git, wanted, into, budget, submodules, why) == 0)
			return 0;
		if (refuse_for_good(repository, wanted, fetched, why) ||
		    !may_clone_again(repository, why))
			return -1;
		failure_clear(why);
	}
	fetched = clone_again(repository, &git, wanted, why) == 0;
	if (fetched && write_out(&git, wanted, into, budget, submodules, why) == 0)
		return 0;
	(void)refuse_for_good(repository, wanted, fetched, why);
	return -1;
}
