/* SPDX-License-Identifier: MIT */
#include "lib/bridge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/run.h"

/* What the kernel says about the link of the bridge's name. */
struct link {
	bool exists, is_bridge, up;
	bool addressed; /* it has the ship's address */
	uint32_t foreign; /* an IPv4 address that is not the ship's; 0: none */
};

/* Without /sys, which may show another network namespace than ours. */
static void
look_at_kind(const char *name, struct link *link)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (void *)&info};

	(void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	link->is_bridge =
	    fd != -1 && ioctl(fd, SIOCETHTOOL, &request) == 0 && strcmp(info.driver, "bridge") == 0;
	link->up =
	    fd != -1 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

static int
look(const struct settings *settings, struct link *link, struct failure *why)
{
	uint32_t mask = ~(UINT32_MAX >> settings->subnet.prefix);
	struct ifaddrs *list;

	*link = (struct link){.exists = if_nametoindex(settings->bridge) != 0};
	if (!link->exists)
		return 0;
	look_at_kind(settings->bridge, link);
	if (getifaddrs(&list) == -1)
		return fail(why, EX_TEMPFAIL, "cannot list addresses", NULL, strerror(errno));
	for (const struct ifaddrs *next = list; next != NULL; next = next->ifa_next) {
		const struct sockaddr_in *address = (const void *)next->ifa_addr;
		const struct sockaddr_in *netmask = (const void *)next->ifa_netmask;

		if (address == NULL || netmask == NULL || address->sin_family != AF_INET ||
		    strcmp(next->ifa_name, settings->bridge) != 0)
			continue;
		if (ntohl(address->sin_addr.s_addr) == address_ship(settings) &&
		    ntohl(netmask->sin_addr.s_addr) == mask)
			link->addressed = true;
		else
			link->foreign = ntohl(address->sin_addr.s_addr);
	}
	freeifaddrs(list);
	return 0;
}

static int
refuse_foreign(const struct settings *settings, const struct link *link, struct failure *why)
{
	auto_free char *foreign = address_text(link->foreign);
	auto_free char *reason =
	    xasprintf("it has the address %s (set STARPHLEET_BRIDGE to another name)", foreign);

	if (link->exists && !link->is_bridge)
		return fail(why, EX_CONFIG, "not the ship's bridge", settings->bridge,
		    "it is no bridge (set STARPHLEET_BRIDGE to another name)");
	if (link->exists && link->foreign != 0 && !link->addressed)
		return fail(why, EX_CONFIG, "not the ship's bridge", settings->bridge, reason);
	return 0;
}

/* True if the services' route leads to the bridge. */
static bool
routed(const struct settings *settings)
{
	auto_failure struct failure ignored = {0};
	auto_free char *table = file_read("/proc/self/net/route", 64 * 1024 * 1024, NULL, &ignored);
	uint32_t want = htonl(settings->services.network);
	uint32_t want_mask = htonl(~(UINT32_MAX >> settings->services.prefix));
	char *place = table;

	for (char *line; place != NULL && (line = strsep(&place, "\n")) != NULL;) {
		unsigned int to, mask;
		char name[IFNAMSIZ + 1] = "";

		if (sscanf(line, "%16s %x %*x %*x %*d %*d %*d %x", name, &to, &mask) == 3 &&
		    to == want && mask == want_mask && strcmp(name, settings->bridge) == 0)
			return true;
	}
	return false;
}

int
bridge_ensure(const struct settings *settings, struct failure *why)
{
	uint32_t ship = address_ship(settings);
	auto_free char *text = address_text(ship);
	auto_free char *address = xasprintf("%s/%u", text, settings->subnet.prefix);
	auto_free char *network = address_text(settings->services.network);
	auto_free char *services = xasprintf("%s/%u", network, settings->services.prefix);
	/* A MAC of its own: else the bridge takes its lowest port's, and changes it with the ports.
	 */
	auto_free char *mac = xasprintf(
	    "02:50:%02x:%02x:%02x:%02x", ship >> 24, ship >> 16 & 255, ship >> 8 & 255, ship & 255);
	const char *const make[] = {"ip", "link", "add", "name", settings->bridge, "address", mac,
	    "type", "bridge", "stp_state", "0", "forward_delay", "0", NULL};
	/* No link-local IPv6 address: the rules that guard the ship's own ports are IPv4's. */
	const char *const quiet[] = {
	    "ip", "link", "set", "dev", settings->bridge, "addrgenmode", "none", NULL};
	const char *const name[] = {"ip", "address", "add", address, "dev", settings->bridge, NULL};
	const char *const raise[] = {"ip", "link", "set", "dev", settings->bridge, "up", NULL};
	const char *const route[] = {
	    "ip", "route", "add", services, "dev", settings->bridge, "src", text, NULL};
	struct link link;

	if (look(settings, &link, why) == -1 || refuse_foreign(settings, &link, why) == -1)
		return -1;
	if (!link.exists && run_wait(make, why) == -1)
		return -1;
	if (!link.up) {
		/* A kernel without IPv6 refuses this and needs it not. */
		if (run_wait(quiet, why) == -1)
			failure_clear(why);
		if (run_wait(raise, why) == -1)
			return -1;
	}
	if (!link.addressed && run_wait(name, why) == -1)
		return -1;
	return routed(settings) ? 0 : run_wait(route, why);
}

int
bridge_down(const struct settings *settings, struct failure *why)
{
	const char *const remove[] = {"ip", "link", "delete", "dev", settings->bridge, NULL};
	struct link link;

	if (look(settings, &link, why) == -1 || refuse_foreign(settings, &link, why) == -1)
		return -1;
	return link.exists ? run_wait(remove, why) : 0;
}

static long
sysctl_number(const char *path)
{
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read(path, 64, NULL, &ignored);

	return text == NULL ? -1 : strtol(text, NULL, 10);
}

static bool
sysctl_write(const char *path, const char *value)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd != -1 && write_all(fd, value, strlen(value)) == 0;
}

int
bridge_tune(struct failure *why)
{
	static const char forward[] = "/proc/sys/net/ipv4/ip_forward";
	static const char entries[] = "/proc/sys/net/netfilter/nf_conntrack_max";
	static const char linger[] = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait";
	static const char reuse[] = "/proc/sys/net/ipv4/tcp_tw_reuse";
	static const char ports[] = "/proc/sys/net/ipv4/ip_local_port_range";
	auto_failure struct failure ignored = {0};
	auto_free char *range = file_read(ports, 64, NULL, &ignored);
	int low, high;

	if (sysctl_number(entries) != -1 && sysctl_number(entries) < 262144)
		(void)sysctl_write(entries, "262144");
	if (sysctl_number(linger) > 30)
		(void)sysctl_write(linger, "30");
	/* 2, the kernel's default, means loopback only; our connections go over the bridge. */
	if (sysctl_number(reuse) != -1 && sysctl_number(reuse) != 1)
		(void)sysctl_write(reuse, "1");
	if (range != NULL && sscanf(range, "%d %d", &low, &high) == 2 && high - low < 28000)
		(void)sysctl_write(ports, "32768 60999");
	if (sysctl_number(forward) == 0 && !sysctl_write(forward, "1"))
		return fail(why, EX_UNAVAILABLE, "cannot set", forward, strerror(errno));
	return 0;
}
