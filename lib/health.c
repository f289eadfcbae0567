/* SPDX-License-Identifier: MIT */
#include "lib/health.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"

enum {
	TIMEOUT_S = 30,
	INIT_DELAY_S = 60,
	PULSE_S = 10,
	RETRY_COUNT = 3,
	PATH_MAX_BYTES = 2048,
	WORDS_LINES = 20,
	WORDS_BYTES = 16 * 1024,
	WORDS_LINE_BYTES = 500,
};

/* HEALTHCHECK as a path: what could end the request line, or is no ASCII, has no place in it. */
static int
check_path(const char *path, struct failure *why)
{
	for (const char *at = path; *at != '\0'; at++)
		if (!isgraph((unsigned char)*at))
			return fail(why, EX_CONFIG,
			    "HEALTHCHECK must be a path without blanks, other characters as %XX",
			    path, NULL);
	if (strlen(path) > PATH_MAX_BYTES)
		return fail(why, EX_CONFIG, "HEALTHCHECK is longer than 2048 bytes", NULL, NULL);
	return 0;
}

/* HEALTHCHECK_STATUS="200 401". */
static int
parse_statuses(struct probe *probe, const char *text, struct failure *why)
{
	static const char blank[] = " \t\n,";
	auto_free char *copy = xstrdup(text);
	char *rest = NULL;
	int count = 0;

	for (char *word = strtok_r(copy, blank, &rest); word != NULL;
	     word = strtok_r(NULL, blank, &rest)) {
		if (strspn(word, "0123456789") != 3 || strlen(word) != 3 || word[0] < '1' ||
		    word[0] > '5' || count == PROBE_STATUSES_MAX)
			return fail(why, EX_CONFIG,
			    "HEALTHCHECK_STATUS must be up to 16 HTTP statuses like 200 401", text,
			    NULL);
		probe->statuses[count++] = atoi(word);
	}
	return 0;
}

int
health_of(struct health *health, const json_t *holder, const char *address, json_int_t port,
    struct failure *why)
{
	const char *path = record_setting(holder, "HEALTHCHECK", NULL);
	struct sockaddr_in to = {.sin_family = AF_INET};
	auto_free char *host = NULL;
	long timeout_s, delay_s, pulse_s;

	*health = (struct health){0};
	if (address == NULL || inet_pton(AF_INET, address, &to.sin_addr) != 1 || port < 1 ||
	    port > 65535)
		return fail(why, EX_CONFIG, "no container to check", record_order(holder),
		    "the record needs container-build first");
	if (record_setting_number(
		holder, "HEALTHCHECK_TIMEOUT", 1, 3600, TIMEOUT_S, &timeout_s, why) == -1 ||
	    record_setting_number(
		holder, "HEALTHCHECK_INIT_DELAY", 1, 3600, INIT_DELAY_S, &delay_s, why) == -1 ||
	    record_setting_number(holder, "HEALTHCHECK_PULSE", 1, 86400, PULSE_S, &pulse_s, why) ==
		-1 ||
	    record_setting_number(holder, "HEALTHCHECK_RETRY_COUNT", 0, 1000, RETRY_COUNT,
		&health->retry_count, why) == -1 ||
	    parse_statuses(&health->probe, record_setting(holder, "HEALTHCHECK_STATUS", ""), why) ==
		-1)
		return -1;
	if (path != NULL && check_path(path, why) == -1)
		return -1;
	health->pulse_ms = pulse_s * 1000;
	health->probe.timeout_ms = timeout_s * 1000;
	health->probe.patience_ms = delay_s * 1000;
	to.sin_port = htons((uint16_t)port);
	memcpy(&health->probe.address, &to, sizeof(to));
	health->probe.address_length = sizeof(to);
	host = xasprintf("%s:%d", address, (int)port);
	if (path == NULL) {
		health->url = xasprintf("tcp://%s", host);
	} else {
		health->url = xasprintf("http://%s/%s", host, path + strspn(path, "/"));
		health->request =
		    probe_request(host, health->url + strlen("http://") + strlen(host));
		health->probe.request = health->request;
	}
	return 0;
}

int
health_of_url(struct health *health, const char *url, struct failure *why)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
	size_t scheme = strlen("http://");
	auto_free char *host = NULL, *path = NULL, *name = NULL, *asked = NULL;
	struct addrinfo *found = NULL, *chosen;
	const char *port = "80";
	char *colon;
	int error;

	*health = (struct health){0};
	if (strncasecmp(url, "http://", scheme) != 0)
		return fail(why, EX_USAGE, "not an http:// URL", url, NULL);
	host = xstrndup(url + scheme, strcspn(url + scheme, "/?#"));
	path = xstrndup(url + scheme + strlen(host), strcspn(url + scheme + strlen(host), "#"));
	if (check_path(path, why) == -1 || strpbrk(host, "@ \t\r\n") != NULL || *host == '\0') {
		failure_clear(why);
		return fail(why, EX_USAGE, "not a usable URL", url, NULL);
	}
	name = xstrdup(*host == '[' ? host + 1 : host);
	colon = strrchr(name, ':');
	if (colon != NULL && (*host != '[' || colon[-1] == ']')) {
		*colon = '\0';
		port = colon + 1;
	}
	if (*host == '[')
		name[strcspn(name, "]")] = '\0';
	error = getaddrinfo(name, port, &hints, &found);
	if (error != 0)
		return fail(why, EX_TEMPFAIL, "cannot find the host of", url, gai_strerror(error));
	/* Ships listen on IPv4; a name often leads to ::1 first. */
	for (chosen = found; chosen->ai_family != AF_INET && chosen->ai_next != NULL;)
		chosen = chosen->ai_next;
	memcpy(&health->probe.address, chosen->ai_addr, chosen->ai_addrlen);
	health->probe.address_length = chosen->ai_addrlen;
	freeaddrinfo(found);
	asked = xasprintf("%s%s", *path == '/' ? "" : "/", path);
	health->url = xstrdup(url);
	health->request = probe_request(host, asked);
	health->probe.request = health->request;
	return 0;
}

void
health_clear(struct health *health)
{
	free(health->url);
	free(health->request);
	*health = (struct health){0};
}

/* Open a log below the root: by a name that is one, no link on the way, nothing but a plain file.
 * -1: there is none. */
static int
open_log(const struct settings *settings, const char *order, const char *container, off_t *size)
{
	auto_failure struct failure ignored = {0};
	bool named = order_check(order, &ignored) == 0 && strchr(container, '/') == NULL;
	auto_close int root = !named ? -1 : open(settings->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_free char *word = !named ? NULL : order_word(order);
	auto_free char *path = !named ? NULL : xasprintf("logs/%s/%s.log", word, container);
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	int fd = root == -1 ? -1 : (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	struct stat status;

	if (fd == -1)
		return -1;
	if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode)) {
		(void)close(fd);
		return -1;
	}
	*size = status.st_size;
	return fd;
}

json_t *
health_last_words(const struct settings *settings, const char *order, const char *container)
{
	off_t size = 0, from;
	auto_close int fd = open_log(settings, order, container, &size);
	auto_free char *text = xcalloc(1, WORDS_BYTES + 1);
	json_t *lines = json_array();
	ssize_t length;
	char *rest = text;

	if (fd == -1)
		return lines;
	from = size > WORDS_BYTES ? size - WORDS_BYTES : 0;
	length = pread(fd, text, WORDS_BYTES, from);
	if (length <= 0)
		return lines;
	for (ssize_t i = 0; i < length; i++)
		if (text[i] == '\0' || text[i] == '\t' || text[i] == '\r')
			text[i] = ' ';
	if (from > 0) { /* the first line is but a part of one, unless it is all there is */
		char *newline = strchr(text, '\n');

		rest = newline == NULL || newline[1] == '\0' ? text : newline + 1;
	}
	while (rest != NULL && *rest != '\0') {
		char *line = strsep(&rest, "\n");
		auto_free char *part = xstrndup(line, WORDS_LINE_BYTES);
		auto_free char *printable = failure_printable(part);

		(void)json_array_append_new(lines, json_string(printable));
		if (json_array_size(lines) > WORDS_LINES)
			(void)json_array_remove(lines, 0);
	}
	return lines;
}
