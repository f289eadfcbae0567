/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "lib/failure.h"
#include "lib/own.h"
#include "lib/settings.h"

/*
 * Admirals reload firewalls and delete bridges. The kernel says so to whoever listens; what to do
 * about it is the job's. Elements of maps are none of our business here: each deploy changes one.
 */
enum {
	QUIET_MS = 200, /* a firewall that is loaded anew makes many events: one line for all */
	LIFT_BYTES = 262144, /* room for events while we wait that out */
	MESSAGE_BYTES = 65536
};

/* Something that was lost. */
enum loss { NOTHING = 0, TABLE = 1, BRIDGE = 2 };

static int
listen_to(int protocol, unsigned int groups, struct failure *why)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int size = LIFT_BYTES;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof address) == -1) {
		(void)fail(
		    why, EX_UNAVAILABLE, "cannot listen to the kernel", "netlink", strerror(errno));
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	return fd;
}

/* True if a message about a link is about the bridge of that name. */
static bool
names_link(const struct nlmsghdr *message, const char *bridge)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	const struct rtattr *attribute = IFLA_RTA(info);
	unsigned int left = (unsigned int)IFLA_PAYLOAD(message);

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == IFLA_IFNAME)
			return strcmp(RTA_DATA(attribute), bridge) == 0;
	return false;
}

static enum loss
judge(const struct nlmsghdr *message, const char *bridge)
{
	if (NFNL_SUBSYS_ID(message->nlmsg_type) == NFNL_SUBSYS_NFTABLES) {
		int type = NFNL_MSG_TYPE(message->nlmsg_type);
		bool lost = type == NFT_MSG_DELTABLE || type == NFT_MSG_DELCHAIN ||
			    type == NFT_MSG_DELRULE || type == NFT_MSG_DELSET;

		return lost ? TABLE : NOTHING;
	}
	switch (message->nlmsg_type) {
	case RTM_DELLINK:
		return names_link(message, bridge) ? BRIDGE : NOTHING;
	case RTM_DELADDR:
	case RTM_DELROUTE:
		return TABLE; /* whoever's: to look costs a few milliseconds */
	default:
		return NOTHING;
	}
}

/* All that lies in the socket. Events that the kernel had to drop may have been any. */
static enum loss
drain(int fd, const char *bridge)
{
	static char buffer[MESSAGE_BYTES] __attribute__((aligned(__alignof__(struct nlmsghdr))));
	enum loss lost = NOTHING;

	for (;;) {
		ssize_t got = recv(fd, buffer, sizeof buffer, 0);
		unsigned int left = got > 0 ? (unsigned int)got : 0;

		if (got == -1 && errno == ENOBUFS) {
			lost |= TABLE;
			continue;
		}
		if (got <= 0)
			return lost;
		for (const struct nlmsghdr *next = (const void *)buffer; NLMSG_OK(next, left);
		     next = NLMSG_NEXT(next, left))
			lost |= judge(next, bridge);
	}
}

/* Write a line at each loss, until the reader is gone. */
static int
watch(const char *bridge, struct failure *why)
{
	auto_close int tables = listen_to(NETLINK_NETFILTER, 1U << (NFNLGRP_NFTABLES - 1), why);
	auto_close int links = tables == -1
				   ? -1
				   : listen_to(NETLINK_ROUTE,
					 RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE, why);
	struct pollfd fds[] = {{.fd = tables, .events = POLLIN}, {.fd = links, .events = POLLIN},
	    {.fd = STDOUT_FILENO, .events = 0}};
	enum loss lost = NOTHING;

	if (links == -1)
		return -1;
	(void)signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int ready = poll(fds, 3, lost == NOTHING ? -1 : QUIET_MS);

		if (ready == -1 && errno != EINTR)
			return fail(why, EX_TEMPFAIL, "cannot wait", NULL, strerror(errno));
		if ((fds[2].revents & (POLLERR | POLLHUP)) != 0)
			return 0;
		if (ready == 0) {
			if (puts((lost & BRIDGE) != 0 ? "bridge" : "table") == EOF ||
			    fflush(stdout) != 0)
				return 0;
			lost = NOTHING;
		}
		lost |= drain(tables, bridge) | drain(links, bridge);
	}
}

static const char usage[] = "usage: starphleet-netwatch [--help] [--version] [-v]\n";

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
			(void)fputs(usage, stdout);
			return 0;
		case 'V':
			(void)puts("starphleet-netwatch " PACKAGE_VERSION);
			return 0;
		case 'v':
			break; /* as every verb takes it; there is nothing more to say */
		default:
			(void)fputs(usage, stderr);
			return EX_USAGE;
		}
	}
	if (optind < argc) {
		(void)fputs(usage, stderr);
		return EX_USAGE;
	}
	if (settings_load(&settings, &why) == -1 || watch(settings.bridge, &why) == -1)
		return failure_report(&why);
	return 0;
}
