/* SPDX-License-Identifier: MIT */
#include "lib/fetch.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"

enum { ORIGIN_MAX = 256 };

void
wanted_clear(struct wanted *wanted)
{
	free(wanted->name);
	free(wanted->abbreviated);
	free(wanted->shown);
	*wanted = (struct wanted){0};
}

/* The file in a bare repository that holds the digest of the URL it was cloned from. */
static char *
origin_path(const struct git *git)
{
	return xasprintf("%s/starphleet-origin", git->directory);
}

bool
fetch_is_clone(const struct git *git)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = origin_path(git);
	auto_free char *origin = file_read(path, ORIGIN_MAX, NULL, &ignored);

	return origin != NULL && strcmp(origin, git->url->digest) == 0;
}

int
fetch_init(const struct git *git, struct failure *why)
{
	/* An empty template: no hook, not even a sample, and no exclude file. */
	const char *const arguments[] = {
	    "init", "--quiet", "--bare", "--template=", "--initial-branch=none", NULL};
	const struct git_command command = {.arguments = arguments};
	auto_free char *path = origin_path(git);

	if (git_run(git, &command, NULL, why) == -1)
		return -1;
	return file_replace(path, git->url->digest, strlen(git->url->digest), 0600, why);
}

/* One line of ls-remote's answer; cuts line. False if it is none. */
static bool
split_answer(char *line, char **commit, char **name)
{
	char *tab = strchr(line, '\t');

	if (tab == NULL)
		return false;
	*tab = '\0';
	*commit = line;
	*name = tab + 1;
	return strncmp(line, "ref: ", 5) == 0 || git_is_commit(line);
}

/* What a REF may mean, best first: branch, the commit an annotated tag stands for, tag. */
struct candidate {
	char *pattern;
	char commit[GIT_COMMIT + 1];
};

/* Note in candidates what the answer says of them; *branch gets what HEAD leads to. */
static void
read_answer(char *answer, struct candidate *candidates, size_t count, char **branch)
{
	char *rest = answer, *line, *commit, *name;

	while ((line = strsep(&rest, "\n")) != NULL) {
		if (!split_answer(line, &commit, &name))
			continue; /* ssh and git talk on the same stream; noise has another form */
		if (strncmp(commit, "ref: refs/heads/", 16) == 0 && strcmp(name, "HEAD") == 0) {
			free(*branch);
			*branch = xstrdup(commit + 16);
			continue;
		}
		for (size_t i = 0; i < count && git_is_commit(commit); i++)
			if (strcmp(candidates[i].pattern, name) == 0)
				memcpy(candidates[i].commit, commit, GIT_COMMIT + 1);
	}
}

static int
ask(const struct git *git, struct candidate *candidates, size_t count, char **branch,
    struct failure *why)
{
	const char *arguments[] = {
	    "ls-remote", "--symref", "--", git->url->text, NULL, NULL, NULL, NULL};
	const struct git_command command = {.arguments = arguments, .remote = true};
	auto_free char *answer = NULL;

	for (size_t i = 0; i < count; i++)
		arguments[4 + i] = candidates[i].pattern;
	if (git_run(git, &command, &answer, why) == -1)
		return -1;
	read_answer(answer, candidates, count, branch);
	return 0;
}

static int
ask_head(const struct git *git, struct wanted *wanted, struct failure *why)
{
	auto_free char *head = xstrdup("HEAD");
	struct candidate candidate = {.pattern = head};
	auto_free char *branch = NULL;

	if (ask(git, &candidate, 1, &branch, why) == -1)
		return -1;
	if (*candidate.commit == '\0')
		return fail(why, EX_TEMPFAIL, "nothing to check out", git->url->shown,
		    "the repository is empty, or its HEAD names a branch that does not exist");
	wanted->name = steal(head);
	memcpy(wanted->commit, candidate.commit, sizeof wanted->commit);
	/* What a server says is shown only if it could be a branch's name. */
	wanted->shown = xstrdup(branch != NULL && url_ref_fault(branch) == NULL ? branch : "HEAD");
	return 0;
}

static void
lower(char *text)
{
	for (; *text != '\0'; text++)
		*text = (char)tolower((unsigned char)*text);
}

int
fetch_ask(const struct git *git, struct wanted *wanted, struct failure *why)
{
	const char *ref = git->url->ref;
	bool full = ref != NULL && strncmp(ref, "refs/", 5) == 0;
	auto_free char *branch = NULL;
	struct candidate candidates[3] = {0};
	size_t count = full ? 2 : 3;
	int result;

	*wanted = (struct wanted){0};
	if (ref == NULL)
		return ask_head(git, wanted, why);
	wanted->shown = xstrdup(ref);
	if (strlen(ref) == GIT_COMMIT && git_is_abbreviation(ref)) {
		memcpy(wanted->commit, ref, sizeof wanted->commit);
		lower(wanted->commit);
		return 0;
	}
	candidates[0].pattern = full ? xasprintf("%s^{}", ref) : xasprintf("refs/heads/%s", ref);
	candidates[1].pattern = full ? xstrdup(ref) : xasprintf("refs/tags/%s^{}", ref);
	candidates[2].pattern = full ? NULL : xasprintf("refs/tags/%s", ref);
	result = ask(git, candidates, count, &branch, why);
	for (size_t i = 0; i < 3; i++) {
		if (result == 0 && wanted->name == NULL && *candidates[i].commit != '\0') {
			memcpy(wanted->commit, candidates[i].commit, sizeof wanted->commit);
			wanted->name = steal(candidates[i].pattern);
			wanted->name[strcspn(wanted->name, "^")] = '\0';
		}
		free(candidates[i].pattern);
	}
	if (result == -1 || wanted->name != NULL)
		return result;
	if (!git_is_abbreviation(ref))
		return fail(why, EX_CONFIG, "no such branch, tag or commit", git->url->shown, ref);
	wanted->abbreviated = xstrdup(ref);
	lower(wanted->abbreviated);
	return 0;
}

/* The commit that name means in git->directory, into commit. False if there is none. */
static bool
look_up(const struct git *git, const char *name, char commit[static GIT_COMMIT + 1])
{
	auto_free char *revision = xasprintf("%s^{commit}", name);
	const char *const arguments[] = {
	    "rev-parse", "--quiet", "--verify", "--end-of-options", revision, NULL};
	const struct git_command command = {.arguments = arguments, .alone = true};
	auto_failure struct failure ignored = {0};
	auto_free char *answer = NULL;

	if (git_run(git, &command, &answer, &ignored) == -1)
		return false;
	answer[strcspn(answer, "\n")] = '\0';
	if (!git_is_commit(answer))
		return false;
	memcpy(commit, answer, GIT_COMMIT + 1);
	return true;
}

/* True if what was just fetched is the very commit: a branch's usual case, without another git. */
static bool
arrived_as_asked(const struct git *git, const struct wanted *wanted, const char *local)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = xasprintf("%s/%s", git->directory, local);
	auto_free char *content = NULL;

	/* A tag may stand for anything. */
	if (wanted->name == NULL || strncmp(wanted->name, "refs/tags/", 10) == 0)
		return false;
	content = file_read(path, ORIGIN_MAX, NULL, &ignored);
	return content != NULL && strncmp(content, wanted->commit, GIT_COMMIT) == 0;
}

bool
fetch_has(const struct git *git, const char *commit)
{
	char found[GIT_COMMIT + 1];

	return look_up(git, commit, found);
}

/* git fetch of one refspec, shallow or with all the history. */
static int
fetch(const struct git *git, const char *how, const char *spec, const char *second,
    struct failure *why)
{
	const char *const arguments[] = {"fetch", "--quiet", "--force", "--no-tags",
	    "--no-write-fetch-head", "--no-auto-maintenance", "--update-shallow",
	    second == NULL ? "--no-prune" : "--prune", how, "--", git->url->text, spec, second,
	    NULL};
	const struct git_command command = {.arguments = arguments, .remote = true};

	return git_run(git, &command, NULL, why);
}

/* All branches and tags with their history: what a commit that no ref names needs. */
static int
fetch_all(const struct git *git, struct failure *why)
{
	auto_free char *shallow = xasprintf("%s/shallow", git->directory);

	return fetch(git, path_exists(shallow) ? "--unshallow" : "--quiet",
	    "+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*", why);
}

/* A name of ours for a remote's ref, such that `a` and `a/b`, one after the other, never collide.
 */
static char *
local_name(const char *name)
{
	char digest[DIGEST_HEX + 1];

	digest_of_string(name, digest);
	return xasprintf("refs/starphleet/%.32s", digest);
}

int
fetch_wanted(const struct git *git, struct wanted *wanted, struct failure *why)
{
	const char *source = wanted->name == NULL ? wanted->commit : wanted->name;
	auto_free char *local = local_name(source);
	auto_free char *spec = xasprintf("+%s:%s", source, local);
	char arrived[GIT_COMMIT + 1];

	if (wanted->abbreviated == NULL) {
		if (fetch(git, "--depth=1", spec, NULL, why) == 0) {
			if (!arrived_as_asked(git, wanted, local) &&
			    !look_up(git, local, wanted->commit))
				return fail(
				    why, EX_CONFIG, "not a commit", git->url->shown, wanted->shown);
			return 0;
		}
		/* A server that gives no single commit, or nothing shallow, may still give all. */
		if (why->code != EX_TEMPFAIL || git_timed_out(why))
			return -1;
		failure_clear(why);
	} else if (look_up(git, wanted->abbreviated, wanted->commit)) {
		return 0;
	}
	if (fetch_all(git, why) == -1)
		return -1;
	source = wanted->abbreviated != NULL ? wanted->abbreviated : wanted->commit;
	if (!look_up(git, source, arrived))
		return fail(why, EX_CONFIG, "no such commit, or not only one", git->url->shown,
		    wanted->shown);
	memcpy(wanted->commit, arrived, sizeof arrived);
	return 0;
}
