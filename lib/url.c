/* SPDX-License-Identifier: MIT */
/*
 * URLs come from a headquarters or, for submodules, from any service's author. What MUST hold:
 * 1. Nothing that this grammar does not name reaches git: no other scheme, no remote helper
 *    (`ext::sh -c …`), no plain path.
 * 2. No part can be taken for an option: host, user, path and REF do not begin with a dash.
 * 3. No control byte, blank or shell word gets through in host or user, and no `..` in a path.
 * 4. Credentials are in `secret` and `whole` only: never in `text`, `shown` or a message.
 */
#include "lib/url.h"

#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/own.h"

enum { URL_MAX = 2048, REF_MAX = 255 };

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define PATH_CHARS ALNUM "/-._~!$&'()*+,;=:@%"

/* A URL cut at its seams; the parts lie in one copy of it. */
struct parts {
	const char *prefix; /* "https://" */
	char *user; /* NULL: none */
	char *host;
	char *port; /* NULL: none */
	char *path; /* with its leading slash, but for user@host:path */
};

static bool
begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static int
hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at =
	    c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c);

	return at == NULL ? -1 : (int)(at - digits);
}

/* text with %XX replaced, or NULL if an escape is broken or stands for a control byte; free() it.
 */
static char *
percent_decode(const char *text)
{
	auto_free char *plain = xcalloc(strlen(text) + 1, 1);
	size_t length = 0;

	for (; *text != '\0'; text++) {
		int high, low;

		if (*text != '%') {
			plain[length++] = *text;
			continue;
		}
		high = hex_digit(text[1]);
		low = high == -1 ? -1 : hex_digit(text[2]);
		if (low == -1 || high * 16 + low < 0x20 || high * 16 + low == 0x7f)
			return NULL;
		plain[length++] = (char)(high * 16 + low);
		text += 2;
	}
	return steal(plain);
}

const char *
url_ref_fault(const char *ref)
{
	size_t length = strlen(ref);

	if (length == 0)
		return "nothing follows the #";
	if (length > REF_MAX)
		return "the name after # is longer than 255 bytes";
	if (*ref == '-' || *ref == '/' || strchr("./", ref[length - 1]) != NULL)
		return "the name after # begins with `-` or `/`, or ends with `.` or `/`";
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)ref[i] <= ' ' || strchr("\x7f~^:?*[\\#", ref[i]) != NULL)
			return "the name after # has a blank, a control character or one of "
			       "~^:?*[\\#";
	if (strstr(ref, "..") != NULL || strstr(ref, "//") != NULL || strstr(ref, "@{") != NULL ||
	    *ref == '.' || strstr(ref, "/.") != NULL || strcmp(ref, "@") == 0)
		return "the name after # is none that git allows";
	for (const char *at = ref; (at = strstr(at, ".lock")) != NULL; at++)
		if (at[5] == '\0' || at[5] == '/')
			return "the name after # is none that git allows";
	return NULL;
}

static const char *
host_fault(const char *host)
{
	size_t length = strlen(host);

	if (length == 0 || length > 253)
		return "a host's name is missing or too long";
	if (*host == '[') {
		if (host[length - 1] != ']' || length < 4 ||
		    strspn(host + 1, "0123456789abcdefABCDEF:.") != length - 2)
			return "not an IPv6 address in brackets";
		return NULL;
	}
	if (strspn(host, ALNUM) == 0 || strspn(host, ALNUM ".-_") != length)
		return "a host's name has letters, digits, `.`, `-` and begins with neither";
	return NULL;
}

static const char *
port_fault(const char *port)
{
	size_t length = strlen(port);

	/* Digits only, so strtol has neither sign nor blank to be lenient about. */
	if (length == 0 || length > 5 || strspn(port, "0123456789") != length ||
	    strtol(port, NULL, 10) < 1 || strtol(port, NULL, 10) > 65535)
		return "a port is a number from 1 to 65535";
	return NULL;
}

static const char *
path_fault(const char *path)
{
	auto_free char *plain = percent_decode(path);
	auto_free char *framed = NULL;

	if (strspn(path, PATH_CHARS) != strlen(path) || plain == NULL)
		return "a path has letters, digits and -._~!$&'()*+,;=:@/, others as %XX";
	if (strspn(path, "/") == strlen(path))
		return "the path is missing";
	if (*path == '-' || begins(path, "/-"))
		return "the path begins with a dash";
	framed = xasprintf("/%s/", plain);
	if (strstr(framed, "/../") != NULL)
		return "the path has a part `..`";
	return NULL;
}

static const char *
user_fault(const char *user, enum url_scheme scheme)
{
	auto_free char *plain = percent_decode(user);

	if (plain == NULL || *user == '\0' || *user == '-' || *plain == '-')
		return "the user's name is empty, begins with a dash or has a control character";
	if (scheme == URL_SSH && strspn(user, ALNUM "._-") != strlen(user))
		return "a user's name for ssh has letters, digits, `.`, `_`, `-`, and no password";
	if (strspn(user, ALNUM "-._~!$&'()*+,;=:%") != strlen(user))
		return "user and password have letters, digits and -._~!$&'()*+,;=, others as %XX";
	return NULL;
}

/* Cut rest, "[user@]host[:port]/path", at its seams. NULL, or what is wrong. */
static const char *
cut(struct parts *parts, char *rest)
{
	char *slash = strchr(rest, '/'), *at, *colon;

	if (slash == NULL)
		return "the path is missing";
	parts->path = xstrdup(slash);
	*slash = '\0';
	at = strrchr(rest, '@');
	if (at != NULL) {
		*at = '\0';
		parts->user = xstrdup(rest);
		rest = at + 1;
	}
	colon = *rest == '[' ? strchr(rest, ']') : rest;
	colon = colon == NULL ? NULL : strchr(colon, ':');
	if (colon != NULL) {
		*colon = '\0';
		parts->port = xstrdup(colon + 1);
	}
	parts->host = xstrdup(rest);
	return NULL;
}

/* user@host:path, as git-fetch(1) has it: no slash before the colon. NULL, or what is wrong. */
static const char *
cut_scp(struct parts *parts, const char *given)
{
	const char *colon = strchr(given, ':'), *at = strchr(given, '@'),
		   *slash = strchr(given, '/');

	if (colon != NULL && colon[1] == ':')
		return "remote helpers are not allowed; use https, ssh:// or user@host:path";
	if (colon == NULL || at == NULL || at > colon || (slash != NULL && slash < colon))
		return "neither https://, http://, ssh:// nor user@host:path";
	parts->user = xstrndup(given, (size_t)(at - given));
	parts->host = xstrndup(at + 1, (size_t)(colon - at - 1));
	parts->path = xstrdup(colon + 1);
	return NULL;
}

static void
parts_clear(struct parts *parts)
{
	free(parts->user);
	free(parts->host);
	free(parts->port);
	free(parts->path);
}

/* Which scheme given has, and its parts. NULL, or what is wrong. */
static const char *
split(struct url *url, struct parts *parts, const char *given, bool allow_file)
{
	static const struct {
		const char *prefix;
		enum url_scheme scheme;
	} known[] = {{"https://", URL_HTTPS}, {"http://", URL_HTTP}, {"ssh://", URL_SSH}};
	auto_free char *rest = NULL;

	if (begins(given, "file:")) {
		url->scheme = URL_FILE;
		parts->prefix = "file://";
		if (!allow_file)
			return "file:// needs STARPHLEET_ALLOW_FILE_URLS=1 in the ship's own "
			       "settings";
		if (!begins(given, "file:///"))
			return "write file:///absolute/path";
		parts->path = xstrdup(given + strlen("file://"));
		return NULL;
	}
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!begins(given, known[i].prefix))
			continue;
		url->scheme = known[i].scheme;
		parts->prefix = known[i].prefix;
		rest = xstrdup(given + strlen(parts->prefix));
		return cut(parts, rest);
	}
	if (strstr(given, "://") != NULL)
		return "this scheme is not allowed; use https, http, ssh:// or user@host:path";
	url->scheme = URL_SSH;
	return cut_scp(parts, given);
}

static const char *
parts_fault(const struct parts *parts, enum url_scheme scheme)
{
	const char *fault = NULL;

	if (parts->host != NULL)
		fault = host_fault(parts->host);
	if (fault == NULL && parts->port != NULL)
		fault = port_fault(parts->port);
	if (fault == NULL && parts->user != NULL)
		fault = user_fault(parts->user, scheme);
	return fault == NULL ? path_fault(parts->path) : fault;
}

/* Put the parts together again, with and without credentials. */
static void
compose(struct url *url, const struct parts *parts)
{
	const char *host = parts->host == NULL ? "" : parts->host;
	const char *colon = parts->port == NULL ? "" : ":",
		   *port = parts->port == NULL ? "" : parts->port;
	const char *user = parts->user == NULL ? "" : parts->user,
		   *at = parts->user == NULL ? "" : "@";

	if (parts->prefix == NULL) {
		url->text = xasprintf("%s@%s:%s", user, host, parts->path);
	} else if (url->scheme == URL_SSH || url->scheme == URL_FILE) {
		url->text = xasprintf(
		    "%s%s%s%s%s%s%s", parts->prefix, user, at, host, colon, port, parts->path);
	} else {
		url->text = xasprintf("%s%s%s%s%s", parts->prefix, host, colon, port, parts->path);
		if (parts->user != NULL) {
			url->secret = percent_decode(parts->user);
			url->shown = xasprintf(
			    "%s***@%s%s%s%s", parts->prefix, host, colon, port, parts->path);
			url->whole = xasprintf(
			    "%s%s@%s%s%s%s", parts->prefix, user, host, colon, port, parts->path);
		}
	}
	if (url->shown == NULL)
		url->shown = xstrdup(url->text);
	if (url->whole == NULL)
		url->whole = xstrdup(url->text);
	digest_of_string(url->whole, url->digest);
}

int
url_parse(struct url *url, const char *given, bool allow_file, struct failure *why)
{
	auto_free char *shown = url_redact(given);
	auto_free char *address = xstrdup(given);
	char *hash = strchr(address, '#');
	struct parts parts = {0};
	const char *fault = NULL;

	*url = (struct url){0};
	if (strlen(given) > URL_MAX)
		return fail(why, EX_CONFIG, "bad URL", NULL, "longer than 2048 bytes");
	if (hash != NULL) {
		*hash = '\0';
		fault = url_ref_fault(hash + 1);
		url->ref = xstrdup(hash + 1);
	}
	for (const char *next = address; fault == NULL && *next != '\0'; next++)
		if ((unsigned char)*next <= ' ' || (unsigned char)*next >= 0x7f)
			fault = "it has a blank, a control character or a letter outside ASCII";
	if (fault == NULL && *address == '\0')
		fault = "it is empty";
	if (fault == NULL && *address == '-')
		fault = "it begins with a dash";
	if (fault == NULL)
		fault = split(url, &parts, address, allow_file);
	if (fault == NULL)
		fault = parts_fault(&parts, url->scheme);
	if (fault == NULL)
		compose(url, &parts);
	parts_clear(&parts);
	if (fault == NULL)
		return 0;
	url_clear(url);
	return fail(why, EX_CONFIG, "bad URL", shown, fault);
}

void
url_clear(struct url *url)
{
	if (url->secret != NULL)
		explicit_bzero(url->secret, strlen(url->secret));
	if (url->whole != NULL)
		explicit_bzero(url->whole, strlen(url->whole));
	free(url->text);
	free(url->shown);
	free(url->secret);
	free(url->whole);
	free(url->ref);
	*url = (struct url){0};
}

char *
url_redact(const char *given)
{
	const char *start = strstr(given, "://"), *colon, *at;

	start = start == NULL ? given : start + strlen("://");
	at = strchr(start, '@');
	colon = strchr(start, ':');
	/* A user of ssh is no secret; one of http may be a token. */
	if (at == NULL || (!begins(given, "http") && (colon == NULL || colon > at)))
		return xstrdup(given);
	/* A password may hold a bare @ or / by mistake: hide up to the last @ before the #REF. */
	for (const char *next = at; *next != '\0' && *next != '#'; next++)
		at = *next == '@' ? next : at;
	return xasprintf("%.*s***%s", (int)(start - given), given, at);
}

char *
url_relative(const struct url *base, const char *given)
{
	auto_free char *start = NULL;
	size_t length;

	if (!begins(given, "./") && !begins(given, "../"))
		return xstrdup(given);
	start = xstrdup(base->whole);
	for (length = strlen(start); length > 0 && start[length - 1] == '/'; length--)
		start[length - 1] = '\0';
	while (begins(given, "./") || begins(given, "../")) {
		bool up = given[1] == '.';
		char *slash = strrchr(start, '/'), *colon = strrchr(start, ':');

		given += up ? 3 : 2;
		if (!up)
			continue;
		/* git@host:a/b: the colon separates as the slash does, and stays. */
		if (slash != NULL && (colon == NULL || slash > colon) && slash > start &&
		    slash[-1] != '/')
			*slash = '\0';
		else if (colon != NULL && colon[1] != '/' && colon[1] != '\0')
			colon[1] = '\0';
		else
			return xasprintf(
			    "%s/../%s", start, given); /* above the host: url_parse refuses */
	}
	length = strlen(start);
	return xasprintf("%s%s%s", start, length > 0 && start[length - 1] == ':' ? "" : "/", given);
}
