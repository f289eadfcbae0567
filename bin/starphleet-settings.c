/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/failure.h"
#include "lib/own.h"
#include "lib/settings.h"

/*
 * The settings as the verbs see them, for shell scripts: so the ini file and its precedence are
 * read in one place only.
 */
static void
usage(FILE *out)
{
	(void)fputs("usage: starphleet-settings [--help] [--version] [NAME]\n", out);
}

static char *
subnet_text(const struct subnet *subnet)
{
	uint32_t at = subnet->network;

	return xasprintf(
	    "%u.%u.%u.%u/%u", at >> 24, at >> 16 & 255, at >> 8 & 255, at & 255, subnet->prefix);
}

/* Show the setting asked for, or all: how many were shown. */
static int
show(const char *asked, const struct settings *settings)
{
	auto_free char *subnet = subnet_text(&settings->subnet);
	auto_free char *services = subnet_text(&settings->services);
	auto_free char *builds = xasprintf("%d", settings->builds);
	auto_free char *drain_s = xasprintf("%d", settings->drain_s);
	auto_free char *https_port = xasprintf("%d", settings->https_port);
	auto_free char *http_port = xasprintf("%d", settings->http_port);
	auto_free char *pulse_s = xasprintf("%d", settings->pulse_s);
	const struct {
		const char *name, *value;
	} all[] = {
	    {"LXC_ROOT", settings->lxc_root},
	    {"STARPHLEET_ALLOW_FILE_URLS", settings->allow_file_urls ? "1" : "0"},
	    {"STARPHLEET_BRIDGE", settings->bridge},
	    {"STARPHLEET_BUILDS", builds},
	    {"STARPHLEET_DRAINSTOP_WAIT", drain_s},
	    {"STARPHLEET_ETC", settings->etc},
	    {"STARPHLEET_HEADQUARTERS", settings->headquarters},
	    {"STARPHLEET_HTTPS_PORT", https_port},
	    {"STARPHLEET_HTTP_PORT", http_port},
	    {"STARPHLEET_LAYERS", settings->layers},
	    {"STARPHLEET_LIBEXEC", settings->libexec},
	    {"STARPHLEET_PULSE", pulse_s},
	    {"STARPHLEET_ROOT", settings->root},
	    {"STARPHLEET_RUN", settings->run},
	    {"STARPHLEET_SERVICES", services},
	    {"STARPHLEET_SHARE", settings->share},
	    {"STARPHLEET_SHARED_DATA", settings->shared_data},
	    {"STARPHLEET_SUBNET", subnet},
	};
	int shown = 0;

	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		const char *value = all[i].value == NULL ? "" : all[i].value;

		if (asked == NULL)
			(void)printf("%s=%s\n", all[i].name, value);
		else if (strcmp(asked, all[i].name) == 0)
			(void)puts(value);
		else
			continue;
		shown++;
	}
	return shown;
}

int
main(int argc, char *argv[])
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	auto_failure struct failure why = {0};
	auto_settings struct settings settings = {0};
	int option;

	while ((option = getopt_long(argc, argv, "hv", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			(void)puts("starphleet-settings " PACKAGE_VERSION);
			return 0;
		case 'v':
			break; /* as every verb takes it; there is nothing more to say */
		default:
			usage(stderr);
			return EX_USAGE;
		}
	}
	if (argc - optind > 1) {
		usage(stderr);
		return EX_USAGE;
	}
	if (settings_load(&settings, &why) == -1)
		return failure_report(&why);
	if (show(argv[optind], &settings) == 0) {
		(void)fail(&why, EX_USAGE, "no such setting", argv[optind], NULL);
		return failure_report(&why);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fail(&why, EX_TEMPFAIL, "cannot write", "standard output", strerror(errno));
		return failure_report(&why);
	}
	return 0;
}
