/* SPDX-License-Identifier: MIT */
/* hq-sync: Git to records: the headquarters' orders, and the repositories that they name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <bsd/stdlib.h>
#include <jansson.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/filter.h"
#include "lib/git.h"
#include "lib/headquarters.h"
#include "lib/own.h"
#include "lib/pulse.h"
#include "lib/record.h"
#include "lib/repository.h"
#include "lib/run.h"
#include "lib/service.h"
#include "lib/settings.h"
#include "lib/state.h"

enum mode { ORDERS, SERVICES, FOLLOW, ONE };

struct options {
	enum mode mode;
	const char *url; /* NULL: that of the settings */
	const char *into;
	bool unsettled, verbose;
	int jobs;
	struct git_limits limits;
	struct settings settings;
};

static const char usage[] = "usage: hq-sync [-v] [--headquarters URL[#REF]]\n"
			    "       hq-sync [-v] --services [--unsettled] [-j N]\n"
			    "       hq-sync --follow\n"
			    "       hq-sync [-v] --one URL[#REF] DIR\n";

static _Noreturn void
misuse(const char *reason)
{
	if (reason != NULL)
		(void)fprintf(stderr, "hq-sync: %s\n", reason);
	(void)fputs(usage, stderr);
	exit(EX_USAGE);
}

static void
mode_set(struct options *opt, enum mode mode)
{
	if (opt->mode != ORDERS)
		misuse("--follow, --one and --services exclude each other");
	opt->mode = mode;
}

static void
options_parse(struct options *opt, int argc, char *argv[])
{
	static const struct option known[] = {{"follow", no_argument, NULL, 'f'},
	    {"headquarters", required_argument, NULL, 'q'}, {"help", no_argument, NULL, 'h'},
	    {"jobs", required_argument, NULL, 'j'}, {"one", required_argument, NULL, 'o'},
	    {"services", no_argument, NULL, 's'}, {"unsettled", no_argument, NULL, 'u'},
	    {"verbose", no_argument, NULL, 'v'}, {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0}};
	const char *bad = NULL;
	int letter;

	*opt = (struct options){.jobs = 8};
	while ((letter = getopt_long(argc, argv, "j:v", known, NULL)) != -1) {
		switch (letter) {
		case 'f':
			mode_set(opt, FOLLOW);
			break;
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		case 'j':
			opt->jobs = (int)strtonum(optarg, 1, 1000, &bad);
			if (bad != NULL)
				misuse("-j needs a number from 1 to 1000");
			break;
		case 'o':
			mode_set(opt, ONE);
			opt->url = optarg;
			break;
		case 'q':
			opt->url = optarg;
			break;
		case 's':
			mode_set(opt, SERVICES);
			break;
		case 'u':
			opt->unsettled = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'V':
			(void)puts("hq-sync " PACKAGE_VERSION);
			exit(0);
		default:
			misuse(NULL);
		}
	}
	if (opt->unsettled && opt->mode != SERVICES)
		misuse("--unsettled belongs to --services");
	if (opt->mode == ONE && optind < argc)
		opt->into = argv[optind++];
	if ((opt->mode == ONE && opt->into == NULL) || optind < argc)
		misuse(
		    opt->mode == ONE ? "--one needs a URL and one directory" : "too many operands");
}

static void
say(const struct options *opt, const char *what, const struct url *url, const struct tree *tree)
{
	if (opt->verbose)
		(void)fprintf(
		    stderr, "hq-sync: %s: %s: %s: %s\n", what, url->shown, tree->ref, tree->commit);
}

/* What was the headquarters last is kept in a file beside its trees: for the time the host is away.
 */
static char *
last_good_path(const struct settings *settings)
{
	return xasprintf("%s/headquarters/current.json", settings->root);
}

static void
last_good_save(const struct settings *settings, const struct url *url, const struct tree *tree)
{
	auto_failure struct failure why = {0}, ignored = {0};
	auto_free char *path = last_good_path(settings);
	auto_json json_t *current = json_pack("{s:s, s:s, s:s, s:s}", "digest", url->digest,
	    "asked", url->ref == NULL ? "" : url->ref, "commit", tree->commit, "ref", tree->ref);
	auto_free char *text = current == NULL ? NULL : json_dumps(current, JSON_COMPACT);
	auto_free char *before = file_read(path, 4096, NULL, &ignored);

	if (text == NULL || (before != NULL && strcmp(before, text) == 0))
		return;
	if (file_replace(path, text, strlen(text), 0600, &why) == -1)
		(void)failure_report(&why);
}

/* True if there is a last good tree of this very URL and REF; then *tree is that. */
static bool
last_good_load(const struct settings *settings, const struct url *url, struct tree *tree)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = last_good_path(settings);
	auto_free char *text = file_read(path, 4096, NULL, &ignored);
	auto_json json_t *current = text == NULL ? NULL : json_loads(text, 0, NULL);
	const char *digest = record_string(current, "digest", NULL),
		   *asked = record_string(current, "asked", NULL);
	const char *commit = record_string(current, "commit", NULL),
		   *ref = record_string(current, "ref", NULL);

	if (digest == NULL || asked == NULL || commit == NULL || ref == NULL ||
	    !git_is_commit(commit) || strcmp(digest, url->digest) != 0 ||
	    strcmp(asked, url->ref == NULL ? "" : url->ref) != 0)
		return false;
	tree->dir = xasprintf("%s/headquarters/trees/%s", settings->root, commit);
	tree->commit = xstrdup(commit);
	tree->ref = xstrdup(ref);
	/* It counts as asked for, so that the reaper leaves it. */
	return utimensat(AT_FDCWD, tree->dir, NULL, AT_SYMLINK_NOFOLLOW) == 0;
}

struct gone {
	const struct settings *settings;
	json_t *ordered; /* object: the names there are */
};

/* An order with state and without orders: tell those who come after. */
static int
emit_if_gone(const char *order, void *context, struct failure *why)
{
	const struct gone *gone = context;
	auto_free char *serving = state_path(gone->settings, order, "serving.json");
	auto_free char *wanted = state_path(gone->settings, order, "wanted.json");
	auto_json json_t *record = NULL;

	if (json_object_get(gone->ordered, order) != NULL ||
	    (!path_exists(serving) && !path_exists(wanted)))
		return 0;
	record = json_pack("{s:s, s:b}", "order", order, "gone", 1);
	return record_write(stdout, record, why);
}

/* Print a record for each order; tell with_gone what is no longer ordered. 0, 1: some failed, -1.
 */
static int
emit_orders(
    const struct options *opt, json_t *orders, json_t *about, bool with_gone, struct failure *why)
{
	auto_json json_t *ordered = json_object();
	struct gone gone = {.settings = &opt->settings, .ordered = ordered};
	bool failed = false;
	json_t *record;
	size_t i;

	json_array_foreach(orders, i, record)
	{
		if (!record_failed(record))
			(void)json_object_set(record, "headquarters", about);
		failed = failed || record_failed(record);
		(void)json_object_set_new(ordered, record_order(record), json_true());
		if (record_write(stdout, record, why) == -1)
			return -1;
	}
	if (with_gone && state_each(&opt->settings, emit_if_gone, &gone, why) == -1)
		return -1;
	return failed;
}

/* hq-sync without a mode. 0, 1: some record failed, 75: told from the last good tree, -1. */
static int
sync_orders(const struct options *opt, struct failure *why)
{
	const struct settings *settings = &opt->settings;
	const char *given = opt->url != NULL ? opt->url : settings->headquarters;
	auto_free char *home = xasprintf("%s/headquarters", settings->root);
	auto_url struct url url = {0};
	auto_tree struct tree tree = {0};
	auto_json json_t *orders = NULL;
	auto_json json_t *about = NULL;
	struct repository repository = {.settings = settings,
	    .url = &url,
	    .home = home,
	    .deadline_ms = state_now_ms() + opt->limits.time_s * 1000LL,
	    .size_mib = opt->limits.size_mib};
	bool fresh;
	int result;

	if (given == NULL)
		return fail(why, EX_CONFIG, "no headquarters is set", "STARPHLEET_HEADQUARTERS",
		    "set it, or use --headquarters URL[#REF]");
	if (url_parse(&url, given, settings->allow_file_urls, why) == -1)
		return -1;
	fresh = repository_sync(&repository, &tree, why) == 0;
	if (!fresh && !last_good_load(settings, &url, &tree))
		return -1;
	if (!fresh) {
		(void)failure_report(why);
		failure_clear(why);
	}
	say(opt, "headquarters", &url, &tree);
	orders = headquarters_orders(tree.dir, why);
	if (orders == NULL)
		return -1;
	/* Most likely a mistake, and the dearest of all if it were taken for a wish. */
	if (json_array_size(orders) == 0)
		return fail(why, EX_CONFIG, "headquarters has no orders", url.shown, NULL);
	if (fresh)
		last_good_save(settings, &url, &tree);
	about =
	    json_pack("{s:s, s:s, s:s}", "dir", tree.dir, "commit", tree.commit, "url", url.shown);
	result = emit_orders(opt, orders, about, fresh, why);
	return result == -1 || fresh ? result : EX_TEMPFAIL;
}

static int
sync_services(const struct options *opt, struct failure *why)
{
	struct service_sync sync = {
	    .settings = &opt->settings, .limits = &opt->limits, .unsettled = opt->unsettled};
	const struct filter filter = {.step = service_step,
	    .context = &sync,
	    .jobs = opt->jobs,
	    .always_fork = true,
	    .sees_errors = opt->unsettled,
	    .limit_ms = (opt->limits.time_s + 5) * 1000}; /* git is stopped first, and says more */

	return filter_run(&filter, why);
}

/* True if path is not there or a directory with nothing in it. */
static bool
is_vacant(const char *path)
{
	auto_closedir DIR *list = opendir(path);
	const struct dirent *entry;

	if (list == NULL)
		return errno == ENOENT;
	while ((entry = readdir(list)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return false;
	return true;
}

/* Copy the tree to into: beside first, then under its name. */
static int
copy_out(const struct tree *tree, const char *into, struct failure *why)
{
	auto_failure struct failure ignored = {0};
	auto_free char *name = xstrdup(into);
	auto_free char *beside = NULL;
	auto_free char *source = xasprintf("%s/.", tree->dir);
	const char *argv[] = {"cp", "-a", "--reflink=auto", "--", source, NULL, NULL};

	for (size_t length = strlen(name); length > 1 && name[length - 1] == '/'; length--)
		name[length - 1] = '\0';
	beside = xasprintf("%s.XXXXXX", name);
	if (mkdtemp(beside) == NULL)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", beside, strerror(errno));
	argv[5] = beside;
	if (run_wait(argv, why) == 0 && rename(beside, name) == 0)
		return dir_sync_parent(name, why);
	if (why->code == 0)
		(void)fail(
		    why, failure_code_of_errno(errno), "cannot rename to", name, strerror(errno));
	(void)tree_remove(beside, &ignored);
	return -1;
}

static int
sync_one(const struct options *opt, struct failure *why)
{
	auto_url struct url url = {0};
	auto_tree struct tree tree = {0};
	auto_free char *home = NULL;
	struct repository repository = {.settings = &opt->settings,
	    .url = &url,
	    .deadline_ms = state_now_ms() + opt->limits.time_s * 1000LL,
	    .size_mib = opt->limits.size_mib};

	if (url_parse(&url, opt->url, opt->settings.allow_file_urls, why) == -1)
		return -1;
	if (!is_vacant(opt->into))
		return fail(why, EX_CONFIG, "not an empty directory", opt->into, NULL);
	home = repository_home(&opt->settings, &url);
	repository.home = home;
	if (repository_sync(&repository, &tree, why) == -1 || copy_out(&tree, opt->into, why) == -1)
		return -1;
	say(opt, "checked out", &url, &tree);
	if (printf("%s\n", tree.commit) < 0 || fflush(stdout) != 0)
		return fail(why, EX_TEMPFAIL, "cannot write", "standard output", strerror(errno));
	return 0;
}

static int
run(const struct options *opt, struct failure *why)
{
	switch (opt->mode) {
	case SERVICES:
		return sync_services(opt, why);
	case FOLLOW:
		return pulse_follow(&opt->settings, why);
	case ONE:
		return sync_one(opt, why);
	case ORDERS:
		break;
	}
	return sync_orders(opt, why);
}

int
main(int argc, char *argv[])
{
	auto_failure struct failure why = {0};
	struct options opt;
	int result = -1;

	options_parse(&opt, argc, argv); /* exits on --help, --version and misuse */
	(void)umask(022); /* trees are read by other users: the sandbox, containers */
	if (settings_load(&opt.settings, &why) == 0 && git_limits_load(&opt.limits, &why) == 0) {
		opt.settings.verbose = opt.verbose;
		result = run(&opt, &why);
	}
	settings_clear(&opt.settings);
	return result == -1 ? failure_report(&why) : result;
}
