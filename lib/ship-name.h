/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SHIP_NAME_H
#define STARPHLEET_SHIP_NAME_H

/*
 * The ship's own name: the first line of /etc/starphleet-name; or `ship-` and the SHA-256
 * fingerprint of its ssh host key, as `ssh-keygen -l` prints it; or, without one, `ship-` and the
 * host's name. free() it.
 */
char *ship_name(void);

#endif
