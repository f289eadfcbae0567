# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A ship for the tests of nets and routes: a private root, bridge, subnets and ports; its containers
# are network namespaces with a service each (tests/lib/upstream), claimed as container-build does.
# setup calls net_up, teardown net_down.

net_lib=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

# Numbers of this test's own, so that suites side by side do not meet.
net_up() {
	local n=$((BASHPID % 120 + 130))
	bats_require_minimum_version 1.5.0
	net_base=$BATS_TEST_TMPDIR/ship
	export STARPHLEET_ROOT=$net_base/root STARPHLEET_RUN=$net_base/run LXC_ROOT=$net_base/lxc
	export STARPHLEET_BRIDGE=spt$n STARPHLEET_SUBNET=10.$n.0.0/24 STARPHLEET_SERVICES=10.$n.1.0/24
	export STARPHLEET_HTTP_PORT=$((18000 + n)) STARPHLEET_HTTPS_PORT=$((19000 + n))
	export STARPHLEET_DRAINSTOP_WAIT=30 STARPHLEET_INI=/dev/null
	export STARPHLEET_SHARE=${STARPHLEET_SHARE:-$net_lib/../../share}
	net_n=$n
	net_pids=
	# shellcheck disable=SC2034 # for the tests
	url=http://127.0.0.1:$STARPHLEET_HTTP_PORT
	# nginx's workers, another user, go through bats' private directories by their open prefix only.
	mkdir -p "$STARPHLEET_ROOT" "$STARPHLEET_RUN" "$LXC_ROOT"
	local part=$STARPHLEET_ROOT
	while [ "$part" != / ] && [ "$part" != /tmp ] && [ "$part" != /var/tmp ]; do
		chmod a+x "$part"
		part=$(dirname "$part")
	done
}

net_down() {
	local pid name
	if pid=$(cat "$STARPHLEET_RUN/nginx.pid" 2>/dev/null) && [ -n "$pid" ]; then
		kill -TERM "$pid" 2>/dev/null || :
		net_until 100 never test -e "/proc/$pid"
	fi
	for pid in $net_pids; do
		kill -KILL "$pid" 2>/dev/null || :
	done
	for name in $(ip netns list | cut -d' ' -f1 | grep "^spt$net_n-" || :); do
		ip netns pids "$name" | xargs -r kill -KILL 2>/dev/null || :
		ip netns delete "$name"
	done
	nft delete table ip "spt$net_n" 2>/dev/null || :
	nft delete table bridge "spt$net_n" 2>/dev/null || :
	ip link delete "spt$net_n" 2>/dev/null || :
}

# net_until TENTHS COMMAND...: wait for what must come.
net_until() {
	local tries=$1
	shift
	while ! "$@"; do
		[ $((tries -= 1)) -gt 0 ] || return 1
		sleep 0.1
	done
}

# never COMMAND...: errexit does not see a command behind a bare `!`.
never() {
	! "$@"
}

net_nginx() {
	nginx -p "$STARPHLEET_ROOT/nginx" -c "$STARPHLEET_ROOT/nginx/current/nginx.conf" 3>&-
}

# net_claim CONTAINER HOST: as address_take would.
net_claim() {
	local file=$STARPHLEET_ROOT/addresses/containers.json
	mkdir -p "$STARPHLEET_ROOT/addresses"
	[ -e "$file" ] || echo '{}' >"$file"
	jq -c --arg name "$1" --arg address "10.$net_n.0.$2" '.[$name] = {address: $address}' "$file" >"$file.new"
	mv "$file.new" "$file"
}

# net_container CONTAINER HOST [VERSION]: a namespace at 10.N.0.HOST that serves VERSION at port 3001.
net_container() {
	local container=$1 host=$2 version=${3:-$1} ns=spt$net_n-$2
	mkdir -p "$LXC_ROOT/$container"
	jq -n --arg root "$STARPHLEET_ROOT" --arg address "10.$net_n.0.$host" \
		'{root: $root, address: $address, port: 3001}' >"$LXC_ROOT/$container/starphleet.json"
	net_claim "$container" "$host"
	ip link show "$STARPHLEET_BRIDGE" >/dev/null 2>&1 || nginx-render </dev/null
	ip netns add "$ns"
	ip link add "v$net_n.$host" type veth peer name eth0 netns "$ns"
	ip link set "v$net_n.$host" master "$STARPHLEET_BRIDGE" up
	ip -n "$ns" link set lo up
	ip -n "$ns" link set eth0 address "$(printf '02:50:0a:%02x:00:%02x' "$net_n" "$host")" up
	ip -n "$ns" address add "10.$net_n.0.$host/24" dev eth0
	ip -n "$ns" route add default via "10.$net_n.0.1"
	ip netns exec "$ns" "$net_lib/upstream" "10.$net_n.0.$host" 3001 "$version" >"$net_base/$ns.out" 2>&1 3>&- &
	net_pids="$net_pids $!"
	net_until 50 grep -q listening "$net_base/$ns.out"
}

# record ORDER CONTAINER HOST [JQ-FILTER]: what healthcheck would pass on.
record() {
	jq -nc --arg order "$1" --arg container "$2" --arg address "10.$net_n.0.$3" \
		'{order: $order, orders_id: "1234567890", settings: {SECURITY_MODE: "public"},
		  service: {commit: "abcdef0123"}, container: {name: $container, address: $address, port: 3001}}' |
		jq -c "${4:-.}"
}

# publish ORDER CONTAINER HOST [JQ-FILTER]
publish() {
	record "$@" | nginx-render
}
