# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A whole ship for tests, beside any other on this machine: its own root, bridge, subnets and ports.
#
#   ship_up          makes the places and exports the settings; SHIP_DIR holds all of it
#   ship_down        everything of it is gone again: containers, processes, bridge, tables, folders
#   ship_start       the jobs, as starphleet-ship runs them; ship_stop ends them
#   ship_until SECONDS COMMAND...    wait for what must come
#   ship_resources   a line for each kind of resource that runs out, with how much of it is in use
#   ship_processes   the pids of all processes of this ship, nginx, monitors and services included

ship_lib=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

# A number that no other test uses: a lock on it lives as long as this process (and its children).
ship_number() {
	mkdir -p /run/starphleet-tests
	for ship_n in $(seq 0 29); do
		exec {ship_lock}>"/run/starphleet-tests/$ship_n"
		# Nor what a test that was killed has left behind.
		flock -n "$ship_lock" && [ -z "$(ss -Hltn "sport = :$((20000 + ship_n))")" ] && return
		exec {ship_lock}>&-
	done
	echo 'too many test ships at once' >&2
	return 1
}

ship_up() {
	ship_number
	SHIP_DIR=$(mktemp -d /var/tmp/starphleet-test.XXXXXX)
	chmod 0711 "$SHIP_DIR" # the containers' root goes through here
	export SHIP_DIR
	export STARPHLEET_INI=$SHIP_DIR/starphleet.ini STARPHLEET_ROOT=$SHIP_DIR/root STARPHLEET_RUN=$SHIP_DIR/run
	export STARPHLEET_ETC=$SHIP_DIR/etc LXC_ROOT=$SHIP_DIR/lxc STARPHLEET_SHARED_DATA=$SHIP_DIR/data
	export STARPHLEET_BRIDGE=spt$((220 + ship_n)) STARPHLEET_SUBNET=10.$((220 + ship_n)).0.0/24
	export STARPHLEET_SERVICES=10.$((220 + ship_n)).1.0/24
	export STARPHLEET_HTTP_PORT=$((20000 + ship_n)) STARPHLEET_HTTPS_PORT=$((20100 + ship_n))
	export STARPHLEET_SHARE=${STARPHLEET_SHARE:-$(cd "$ship_lib/../../share" && pwd)}
	export STARPHLEET_PULSE=1 STARPHLEET_DRAINSTOP_WAIT=2 STARPHLEET_ALLOW_FILE_URLS=1
	# The base and the stacks take minutes to make, and are what they are called: shared by all.
	export STARPHLEET_LAYERS=${STARPHLEET_TEST_LAYERS:-/var/cache/starphleet/test-layers}
	mkdir -p "$STARPHLEET_ETC" "$STARPHLEET_LAYERS" "$STARPHLEET_SHARED_DATA" "$LXC_ROOT" \
		"$STARPHLEET_ROOT/private_keys" "$STARPHLEET_ROOT/logs" "$STARPHLEET_RUN"
	chmod 0711 "$STARPHLEET_ROOT" "$STARPHLEET_ROOT/logs" "$LXC_ROOT" "$STARPHLEET_LAYERS" "$STARPHLEET_RUN"
	: >"$STARPHLEET_INI"
	flock "$STARPHLEET_LAYERS" container-build --base >"$SHIP_DIR/base.log" 2>&1 {ship_lock}>&- || {
		cat "$SHIP_DIR/base.log" >&2
		return 1
	}
}

ship_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

ship_start() {
	starphleet-ship >>"$SHIP_DIR/ship.log" 2>&1 3>&- {ship_lock}>&- &
	ship_pid=$!
	ship_until 30 grep -q 'under way' "$SHIP_DIR/ship.log"
}

ship_stop() {
	kill "$ship_pid" 2>/dev/null || :
	wait "$ship_pid" 2>/dev/null || :
}

# Whatever inherited our root in its environment, and what runs in our containers' cgroups.
ship_processes() {
	local pid
	{
		grep -lzsFx "STARPHLEET_ROOT=$STARPHLEET_ROOT" /proc/[0-9]*/environ | cut -d/ -f3
		find /sys/fs/cgroup -path "*/starphleet/$STARPHLEET_BRIDGE/*" -name cgroup.procs -exec cat {} + 2>/dev/null
		# nginx writes its title over its environment; its log is open in master and workers alike.
		find /proc/[0-9]*/fd -lname "$STARPHLEET_ROOT/nginx/*" 2>/dev/null | cut -d/ -f3
	} | sort -un | while read -r pid; do
		# Not the tests themselves.
		case $({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null) in
		'' | *bats* | *tests/bench* | *tests/run*) ;;
		*) echo "$pid" ;;
		esac
	done
}

ship_kill() {
	local pids
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		pids=$(ship_processes)
		[ -n "$pids" ] || return 0
		# shellcheck disable=SC2086 # pids
		kill -KILL $pids 2>/dev/null || :
		sleep 0.1
	done
}

ship_down() {
	[ -n "${SHIP_DIR:-}" ] || return 0
	ship_kill
	find /sys/fs/cgroup -depth -type d -path "*/starphleet/$STARPHLEET_BRIDGE*" -exec rmdir {} + 2>/dev/null || :
	nft delete table ip "$STARPHLEET_BRIDGE" 2>/dev/null || :
	nft delete table bridge "$STARPHLEET_BRIDGE" 2>/dev/null || :
	ip link delete "$STARPHLEET_BRIDGE" 2>/dev/null || :
	rm -rf "${SHIP_DIR:?}"
	exec {ship_lock}>&-
}

ship_resources() {
	local hierarchy
	echo "veth: $(ip -o link show type veth | wc -l)"
	echo "bridge ports: $(ip -o link show master "$STARPHLEET_BRIDGE" 2>/dev/null | wc -l)"
	for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
		[ -d "$hierarchy/starphleet/$STARPHLEET_BRIDGE" ] || continue
		echo "cgroups in $hierarchy: $(find "$hierarchy/starphleet/$STARPHLEET_BRIDGE" -mindepth 1 -type d -not -path '*/pivot*' | wc -l)" # LXC's own, one for all
	done
	echo "mounts: $(wc -l </proc/self/mountinfo)"
	echo "loop devices: $(losetup -a 2>/dev/null | wc -l)"
	echo "elements: $(nft -j list map ip "$STARPHLEET_BRIDGE" services 2>/dev/null |
		jq '[.nftables[].map.elem // [] | .[]] | length')"
	echo "rules: $(nft list table ip "$STARPHLEET_BRIDGE" 2>/dev/null | grep -v ' : ' | wc -l)"
	echo "containers: $(find "$LXC_ROOT" -mindepth 1 -maxdepth 1 | wc -l)"
	echo "half-made: $(find "$LXC_ROOT" "$STARPHLEET_LAYERS" "$STARPHLEET_ROOT" -maxdepth 4 -name '.tmp*' 2>/dev/null | wc -l)"
	echo "draining: $(find "$STARPHLEET_ROOT/current_orders" -path '*/draining/*' | wc -l)"
	# The jobs' own come and go with each pulse; those of containers and their monitors stay.
	echo "processes: $(find /sys/fs/cgroup -path "*/starphleet/$STARPHLEET_BRIDGE/*" -name cgroup.procs \
		-exec cat {} + 2>/dev/null | sort -u | wc -l)"
	echo "zombies: $(ps -eo ppid=,stat= | awk '$2 ~ /^Z/ { print $1 }' |
		grep -cFx -f <(ship_processes) || :)"
	echo "files in run: $(find "$STARPHLEET_RUN" -not -path "$STARPHLEET_RUN/said*" -not -name collected | wc -l)"
}
