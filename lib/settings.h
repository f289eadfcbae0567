/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SETTINGS_H
#define STARPHLEET_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/failure.h"

/* An IPv4 network in host byte order; the host part of network is 0. */
struct subnet {
	uint32_t network;
	unsigned int prefix;
};

/*
 * Where this ship has its places and what its policy is. Sources, later wins: built-in defaults,
 * the ini file (/etc/starphleet/starphleet.ini or $STARPHLEET_INI; section [starphleet], names in
 * lower case without the STARPHLEET_ prefix: `root = /srv/ship`), the environment (STARPHLEET_ROOT
 * and its like). All strings are owned by the struct.
 */
struct settings {
	char *root;	    /* STARPHLEET_ROOT: state */
	char *run;	    /* STARPHLEET_RUN: what a reboot may lose */
	char *etc;	    /* STARPHLEET_ETC: per-ship environment, shell files */
	char *lxc_root;	    /* LXC_ROOT: containers */
	char *shared_data;  /* STARPHLEET_SHARED_DATA */
	char *layers;	    /* STARPHLEET_LAYERS: default <root>/layers */
	char *keys;	    /* <root>/private_keys */
	char *share;	    /* STARPHLEET_SHARE: the project's data files */
	char *libexec;	    /* STARPHLEET_LIBEXEC: programs that only the tools start */
	char *bridge;	    /* STARPHLEET_BRIDGE: also the name of the nftables table */
	char *headquarters; /* STARPHLEET_HEADQUARTERS: URL[#REF]; NULL where none is set */
	struct subnet subnet;	/* STARPHLEET_SUBNET: containers; the first address is the ship's */
	struct subnet services; /* STARPHLEET_SERVICES: stable service addresses */
	int http_port;
	int https_port;
	int pulse_s;
	int drain_s;
	int builds; /* how many may build at once */
	bool allow_file_urls;
	bool verbose; /* -v; the verb sets it */
};

/*
 * Fill *settings. -1: *why names the file, the line or the variable, and what it should be. Lines
 * of the ini file over 198 bytes are refused, since inih of Debian 12 would cut them silently.
 */
int settings_load(struct settings *settings, struct failure *why);
void settings_clear(struct settings *settings);

#define auto_settings __attribute__((cleanup(settings_clear)))

#endif
