/* SPDX-License-Identifier: MIT */
#include "lib/nginx.h"

#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"

/*
 * What MUST hold of the text:
 * 1. Every value in it is a number printed from an integer, an order's name (lib/order's grammar:
 *    no quote, `$`, `;`, brace, blank or backslash), a header's name (lib/route's grammar), a place
 *    of the settings without any of nginx's own characters, or text of <share>/nginx.
 * 2. A service whose orders do not say SECURITY_MODE=public is not in it (lib/route).
 * 3. It depends on nothing else: what did not change gives the same text, and no reload.
 */
static const char order_mark[] = "\t\t# order: ";
static const char end_mark[] = "\t\t# end of orders\n";

enum { SHARE_MAX_BYTES = 1024 * 1024 };

/* A place may lie anywhere, but not steer nginx. */
static int
check_place(const char *place, struct failure *why)
{
	if (strpbrk(place, "\"'\\$;{}#\n\r\t ") != NULL)
		return fail(why, EX_CONFIG, "cannot write nginx's configuration", place,
		    "a place must not have quotes, blanks, or any of \\ $ ; { } #");
	return 0;
}

/* Append a file of <share>/nginx. */
static int
print_shared(FILE *out, const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *path = xasprintf("%s/nginx/%s", settings->share, name);
	auto_free char *text = file_read(path, SHARE_MAX_BYTES, NULL, why);

	if (text == NULL && why->code == 0)
		return fail(why, EX_UNAVAILABLE, "cannot read", path, strerror(ENOENT));
	return text == NULL || fputs(text, out) == EOF ? -1 : 0;
}

static bool
ipv6_here(void)
{
	auto_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};

	return fd != -1 && bind(fd, (const struct sockaddr *)&any, sizeof any) == 0;
}

static void
print_places(FILE *out, const struct settings *settings)
{
	static const char *const temporary[] = {
	    "client_body", "proxy", "fastcgi", "uwsgi", "scgi", NULL};
	const char *user = getpwnam("www-data") == NULL ? "nobody" : "www-data";

	(void)fprintf(out,
	    "# Written by nginx-render; changes made here are lost.\n"
	    "user %s;\n"
	    "worker_processes auto;\n"
	    /* A websocket may live for days, but the worker it holds from before a reload not. */
	    "worker_shutdown_timeout 10m;\n"
	    "pid %s/nginx.pid;\n"
	    "error_log %s/nginx/logs/error.log error;\n"
	    "events {\n\tworker_connections 4096;\n}\n"
	    "http {\n\taccess_log off;\n",
	    user, settings->run, settings->root);
	for (size_t i = 0; temporary[i] != NULL; i++)
		(void)fprintf(out, "\t%s_temp_path %s/nginx/tmp/%s;\n", temporary[i],
		    settings->root, temporary[i]);
}

static int
print_route(
    FILE *out, const struct settings *settings, const struct route *route, struct failure *why)
{
	auto_free char *service = address_text(route->service);
	const char *slash = *route->order == '\0' ? "" : "/";

	/* proxy_pass with `/` strips the prefix; a location that ends with `/` gives its name
	   without the slash a 301 to it. */
	(void)fprintf(out, "%s%s\n\t\tlocation \"/%s%s\" {\n", order_mark,
	    *route->order == '\0' ? "/" : route->order, route->order, slash);
	(void)fprintf(out, "\t\t\tset $starphleet_service \"%s\";\n",
	    *route->order == '\0' ? "/" : route->order);
	if (route->cors)
		(void)fprintf(out,
		    "\t\t\tset $starphleet_cors on;\n"
		    "\t\t\tif ($starphleet_preflight) {\n\t\t\t\treturn 204;\n\t\t\t}\n");
	if (route->identity != NULL) {
		if (print_shared(out, settings, "headers.conf", why) == -1)
			return -1;
		(void)fprintf(out, "\t\t\tproxy_set_header %s \"\";\n", route->identity);
	}
	(void)fprintf(out, "\t\t\tproxy_pass http://%s/;\n\t\t}\n", service);
	return 0;
}

static int
print_all(
    FILE *out, const struct settings *settings, const struct routes *routes, struct failure *why)
{
	bool root = false;

	print_places(out, settings);
	if (print_shared(out, settings, "http.conf", why) == -1)
		return -1;
	(void)fprintf(
	    out, "\tserver {\n\t\tlisten %d default_server backlog=4096;\n", settings->http_port);
	if (ipv6_here())
		(void)fprintf(out, "\t\tlisten [::]:%d default_server ipv6only=on backlog=4096;\n",
		    settings->http_port);
	(void)fprintf(out, "\t\tserver_name _;\n");
	if (print_shared(out, settings, "server.conf", why) == -1 ||
	    print_shared(out, settings, "headers.conf", why) == -1)
		return -1;
	for (size_t i = 0; i < routes->count; i++) {
		root = root || *routes->list[i].order == '\0';
		if (print_route(out, settings, &routes->list[i], why) == -1)
			return -1;
	}
	(void)fprintf(out, "%s%s\t}\n}\n", end_mark,
	    root ? "" : "\t\tlocation / {\n\t\t\treturn 404 \"not found\\n\";\n\t\t}\n");
	return 0;
}

char *
nginx_text(const struct settings *settings, const struct routes *routes, struct failure *why)
{
	auto_free char *text = NULL;
	size_t length = 0;
	FILE *out;
	int result;

	if (check_place(settings->root, why) == -1 || check_place(settings->run, why) == -1)
		return NULL;
	if ((out = open_memstream(&text, &length)) == NULL) {
		(void)fail(
		    why, EX_TEMPFAIL, "cannot write nginx's configuration", NULL, strerror(errno));
		return NULL;
	}
	result = print_all(out, settings, routes, why);
	(void)fclose(out);
	return result == -1 ? NULL : steal(text);
}

char *
nginx_order_at(const char *text, size_t line)
{
	const char *found = NULL;

	for (const char *next = text; next != NULL && line > 0; line--) {
		if (strncmp(next, order_mark, strlen(order_mark)) == 0)
			found = next + strlen(order_mark);
		else if (strncmp(next, end_mark, strlen(end_mark)) == 0)
			found = NULL;
		next = strchr(next, '\n');
		next = next == NULL ? NULL : next + 1;
	}
	if (found == NULL)
		return NULL;
	return *found == '/' ? xstrdup("") : xstrndup(found, strcspn(found, "\n"));
}
