/* SPDX-License-Identifier: MIT */
/*
 * What MUST hold for every run of git:
 * 1. It reads no configuration but ours: not the system's, not a user's, not a repository's own
 *    beyond what `git init` with an empty template wrote.
 * 2. No program of a repository's or a server's choice runs: no hook, no filter, no fsmonitor, no
 *    credential helper, no remote helper; protocols are limited to the one of the URL, so that a
 *    redirect cannot change it.
 * 3. It asks nobody: no terminal, no askpass, ssh in batch mode.
 * 4. No credential stands in an argument list, which every user of the machine can read.
 * 5. It ends: by its deadline, with this process, and at limits on memory and the size of files.
 */
#include "lib/git.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <openssl/evp.h>

#include "lib/alloc.h"
#include "lib/own.h"
#include "lib/run.h"
#include "lib/state.h"

enum { ENVIRONMENT_MAX = 160, ARGUMENTS_MAX = 40, REASON_MAX = 300 };

/* An environment that grows; entries are owned. */
struct environment {
	char *entries[ENVIRONMENT_MAX];
	size_t count;
	int settings; /* how many GIT_CONFIG_KEY_n there are */
};

static const char *const configuration[][2] = {
    {"core.hooksPath", "/dev/null"},
    {"core.fsmonitor", "false"},
    {"core.attributesFile", "/dev/null"},
    {"core.excludesFile", "/dev/null"},
    {"core.askPass", ""},
    {"core.symlinks", "true"},
    {"core.autocrlf", "false"},
    {"core.eol", "lf"},
    /* We sync the whole tree once, and a clone that a power cut hurt is made again. */
    {"core.fsync", "none"},
    {"credential.helper", ""},
    {"protocol.version", "2"},
    {"http.lowSpeedLimit", "1"},
    {"http.lowSpeedTime", "20"},
    {"fetch.unpackLimit", "1"},
    {"fetch.recurseSubmodules", "false"},
    {"submodule.recurse", "false"},
    {"gc.auto", "0"},
    {"maintenance.auto", "false"},
    {"pack.threads", "2"},
    /* Malformed objects are refused, but for old sins that harm nobody and live in history. */
    {"fetch.fsckObjects", "true"},
    {"fetch.fsck.badDate", "ignore"},
    {"fetch.fsck.badDateOverflow", "ignore"},
    {"fetch.fsck.badEmail", "ignore"},
    {"fetch.fsck.badName", "ignore"},
    {"fetch.fsck.badTimezone", "ignore"},
    {"fetch.fsck.missingEmail", "ignore"},
    {"fetch.fsck.missingNameBeforeEmail", "ignore"},
    {"fetch.fsck.missingSpaceBeforeDate", "ignore"},
    {"fetch.fsck.missingSpaceBeforeEmail", "ignore"},
    {"fetch.fsck.multipleAuthors", "ignore"},
    {"fetch.fsck.zeroPaddedDate", "ignore"},
    {"fetch.fsck.zeroPaddedFilemode", "ignore"},
};

static int
limit_load(const char *name, long low, long high, long *value, struct failure *why)
{
	const char *text = getenv(name), *bad = NULL;
	auto_free char *reason = NULL;

	if (text == NULL || *text == '\0')
		return 0;
	*value = (long)strtonum(text, low, high, &bad);
	if (bad == NULL)
		return 0;
	reason = xasprintf("a number from %ld to %ld is needed", low, high);
	return fail(why, EX_CONFIG, "bad setting", name, reason);
}

int
git_limits_load(struct git_limits *limits, struct failure *why)
{
	*limits = (struct git_limits){.time_s = 60, .size_mib = 2048};
	if (limit_load("STARPHLEET_GIT_TIMEOUT", 1, 86400, &limits->time_s, why) == -1)
		return -1;
	return limit_load("STARPHLEET_REPOSITORY_LIMIT", 1, 1048576, &limits->size_mib, why);
}

bool
git_is_abbreviation(const char *text)
{
	size_t length = strlen(text);

	return length >= 7 && length <= GIT_COMMIT &&
	       strspn(text, "0123456789abcdefABCDEF") == length;
}

bool
git_is_commit(const char *text)
{
	return strlen(text) == GIT_COMMIT && strspn(text, "0123456789abcdef") == GIT_COMMIT;
}

static void
environment_clear(struct environment *environment)
{
	for (size_t i = 0; i < environment->count; i++) {
		explicit_bzero(environment->entries[i], strlen(environment->entries[i]));
		free(environment->entries[i]);
	}
}

static void
put(struct environment *environment, const char *name, const char *value)
{
	if (environment->count + 1 < ENVIRONMENT_MAX) /* always: what we put is counted above */
		environment->entries[environment->count++] = xasprintf("%s=%s", name, value);
}

static void
configure(struct environment *environment, const char *key, const char *value)
{
	auto_free char *key_name = xasprintf("GIT_CONFIG_KEY_%d", environment->settings);
	auto_free char *value_name = xasprintf("GIT_CONFIG_VALUE_%d", environment->settings);

	put(environment, key_name, key);
	put(environment, value_name, value);
	environment->settings++;
}

/* The login as a header of our own: in the environment, which only we and root can read. */
static void
configure_login(struct environment *environment, const char *secret)
{
	auto_free char *pair = xasprintf("%s%s", secret, strchr(secret, ':') == NULL ? ":" : "");
	size_t length = strlen(pair);
	auto_free unsigned char *encoded = xcalloc((length + 2) / 3 * 4 + 1, 1);
	auto_free char *header = NULL;

	(void)EVP_EncodeBlock(encoded, (const unsigned char *)pair, (int)length);
	header = xasprintf("Authorization: Basic %s", (const char *)encoded);
	configure(environment, "http.extraHeader", header);
	explicit_bzero(pair, length);
	explicit_bzero(encoded, (length + 2) / 3 * 4);
	explicit_bzero(header, strlen(header));
}

static void
environment_fill(
    struct environment *environment, const struct git *git, const struct git_command *command)
{
	static const char *const protocols[] = {"https", "http", "ssh", "file"};
	static const char *const passed[] = {"http_proxy", "https_proxy", "HTTPS_PROXY",
	    "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "STARPHLEET_SSH_ACCEPT_NEW"};
	auto_free char *ssh = xasprintf("%s/git/ssh", git->settings->share);
	auto_free char *count = NULL;

	put(environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	put(environment, "HOME", "/nonexistent");
	put(environment, "LANG", "C.UTF-8");
	put(environment, "LANGUAGE", "C");
	put(environment, "GIT_CONFIG_NOSYSTEM", "1");
	put(environment, "GIT_CONFIG_GLOBAL", "/dev/null");
	put(environment, "GIT_ATTR_NOSYSTEM", "1");
	put(environment, "GIT_NO_REPLACE_OBJECTS", "1");
	put(environment, "GIT_TERMINAL_PROMPT", "0");
	put(environment, "GIT_ALLOW_PROTOCOL", protocols[git->url->scheme]);
	put(environment, "GIT_SSH", ssh);
	put(environment, "GIT_SSH_VARIANT", "ssh");
	put(environment, "STARPHLEET_SSH_KEYS", git->settings->keys);
	for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
		if (getenv(passed[i]) != NULL)
			put(environment, passed[i], getenv(passed[i]));
	if (git->directory != NULL)
		put(environment, "GIT_DIR", git->directory);
	if (command->index != NULL)
		put(environment, "GIT_INDEX_FILE", command->index);
	if (command->work_tree != NULL)
		put(environment, "GIT_WORK_TREE", command->work_tree);
	for (size_t i = 0; i < sizeof configuration / sizeof *configuration; i++)
		configure(environment, configuration[i][0], configuration[i][1]);
	/* git would repeat our header to wherever it is led. */
	configure(
	    environment, "http.followRedirects", git->url->secret == NULL ? "initial" : "false");
	if (git->url->secret != NULL && command->remote)
		configure_login(environment, git->url->secret);
	count = xasprintf("%d", environment->settings);
	put(environment, "GIT_CONFIG_COUNT", count);
	environment->entries[environment->count] = NULL;
}

/* True for lines that say nothing about this case. */
static bool
is_noise(const char *line)
{
	static const char *const noise[] = {"fatal: Could not read from remote repository",
	    "Please make sure", "and the repository exists",
	    "warning:", "hint:", "remote: Enumerating", "remote: Counting", "remote: Compressing",
	    "remote: Total", "@@@@"};

	for (size_t i = 0; i < sizeof noise / sizeof *noise; i++)
		if (strncmp(line, noise[i], strlen(noise[i])) == 0)
			return true;
	return strspn(line, " \t\r") == strlen(line);
}

/*
 * Of what git and ssh printed, the line that tells most: git's first complaint, or else (ssh
 * complains without a prefix) the last line. free() it; NULL if there is none.
 */
static char *
telling_line(const char *text)
{
	auto_free char *copy = xstrdup(text);
	const char *last = NULL;
	char *rest = copy, *line;

	while ((line = strsep(&rest, "\n\r")) != NULL) {
		if (is_noise(line))
			continue;
		if (strncmp(line, "fatal: ", 7) == 0 || strncmp(line, "error: ", 7) == 0)
			return xstrndup(line + 7, REASON_MAX);
		last = line;
	}
	return last == NULL ? NULL : xstrndup(last, REASON_MAX);
}

/* git's message without what the record's message says already. */
static const char *
shortened(const char *line)
{
	const char *end;

	if (strncmp(line, "fatal: ", 7) == 0 || strncmp(line, "error: ", 7) == 0)
		line += 7;
	if (strncmp(line, "unable to access '", 18) == 0 && (end = strstr(line, "': ")) != NULL)
		line = end + 3;
	return line;
}

bool
git_timed_out(const struct failure *why)
{
	return why->code == EX_TEMPFAIL && strstr(why->message, "no answer within") != NULL;
}

bool
git_too_large(const struct failure *why)
{
	return why->code == EX_CONFIG &&
	       strstr(why->message, "STARPHLEET_REPOSITORY_LIMIT") != NULL;
}

/* True if git, or a program of its, met the limit on files or memory. */
static bool
met_limit(const char *output, const struct failure *why)
{
	static const char *const signs[] = {
	    "File too large", "signal 25", "ut of memory", "unable to mmap"};

	for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
		if (strstr(output, signs[i]) != NULL || strstr(why->message, signs[i]) != NULL)
			return true;
	return false;
}

/* Turn why, as run_program left it, into git's own words, with a hint where we have one. */
static int
explain(const struct git *git, const struct git_command *command, long limit_ms, const char *output,
    struct failure *why)
{
	auto_free char *line = telling_line(output);
	auto_free char *reason = NULL;
	const char *said = strstr(why->message, ": ");
	const char *what = command->remote ? "cannot fetch" : "cannot check out";

	said = said == NULL ? NULL : strstr(said + 2, ": "); /* behind "failed: prlimit: " */
	said = said == NULL ? why->message : shortened(said + 2);
	if (met_limit(output, why)) {
		reason = xasprintf(
		    "larger than %ld MiB, which STARPHLEET_REPOSITORY_LIMIT allows", git->size_mib);
		return fail(why, EX_CONFIG, what, git->url->shown, reason);
	}
	if (git_timed_out(why))
		reason = xasprintf("no answer within %ld s", (limit_ms + 999) / 1000);
	else if (why->code == EX_TEMPFAIL || line == NULL)
		reason = xstrndup(said, REASON_MAX);
	else if (strstr(output, "REMOTE HOST IDENTIFICATION HAS CHANGED") != NULL)
		reason = xasprintf(
		    "the host's key has changed; see %s/known_hosts", git->settings->keys);
	else if (strstr(output, "Host key verification failed") != NULL)
		reason = xasprintf("the host's key is not in %s/known_hosts", git->settings->keys);
	else if (strstr(line, "could not read Username") != NULL)
		reason = xstrdup("it does not exist or asks for a login");
	else if (strstr(line, "disabled in libcurl") != NULL)
		reason = xstrdup("it redirects to another scheme, which is not followed");
	else
		reason = xstrdup(shortened(line));
	/* Here, too: a full disk, a clone that is hurt and will be replaced. */
	return fail(why, EX_TEMPFAIL, what, git->url->shown, reason);
}

int
git_run(
    const struct git *git, const struct git_command *command, char **output, struct failure *why)
{
	long file_mib = command->file_mib == 0 ? git->size_mib : command->file_mib;
	auto_free char *file_limit = xasprintf("--fsize=%lld", (long long)file_mib * 1024 * 1024);
	auto_free char *memory_limit =
	    xasprintf("--as=%lld", (4096LL + git->size_mib) * 1024 * 1024);
	/* If this process is killed, so is what it started: see 5 above. */
	const char *argv[ARGUMENTS_MAX] = {"prlimit", file_limit, memory_limit, "--core=0", "--",
	    "setpriv", "--pdeathsig", "KILL", "--"};
	/*
	 * git's children know nothing of that: git-remote-http would wait for its server. With git,
	 * the first process of its namespace, they all end. A file beyond the limit is then an
	 * error that git can tell of its child, not a signal.
	 */
	static const char *const family[] = {"unshare", "--pid", "--fork", "--kill-child", "--",
	    "env", "--ignore-signal=XFSZ", NULL};
	const char *const alone[] = {NULL}, *const git_name[] = {"git", NULL};
	const char *const *const parts[] = {
	    command->alone ? alone : family, git_name, command->arguments};
	size_t count = 0;
	struct environment environment __attribute__((cleanup(environment_clear))) = {0};
	auto_free char *printed = NULL;
	struct run run = {.argv = argv, .merge = command->remote, .output_fd = command->output_fd};

	while (argv[count] != NULL)
		count++;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (const char *const *next = parts[i]; *next != NULL && count < ARGUMENTS_MAX - 1;
		     next++)
			argv[count++] = *next;
	environment_fill(&environment, git, command);
	run.env = (const char *const *)environment.entries;
	run.directory = command->work_tree == NULL ? "/" : command->work_tree;
	run.output_limit = (size_t)16 * 1024 * 1024;
	run.limit_ms = (long)(git->deadline_ms - state_now_ms());
	if (run.limit_ms <= 0)
		return fail(why, EX_TEMPFAIL, "cannot fetch", git->url->shown, "no time is left");
	if (run_program(&run, &printed, why) == -1)
		return explain(git, command, run.limit_ms,
		    command->remote && printed != NULL ? printed : "", why);
	if (output != NULL)
		*output = steal(printed);
	return 0;
}
