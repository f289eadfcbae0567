#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The ship's network: bridge, route, table and map, in the kernel's real nftables, through
# nginx-render (which makes and restores them) and orphan-reaper --network-down.

# bats runs each test in a subshell, and load is not followed.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load lib/net

setup() {
	net_up
}

teardown() {
	net_down
}

one=echo-1234567-aaaaaaa
two=echo-1234567-bbbbbbb

elements() {
	nft list map ip "$STARPHLEET_BRIDGE" services | grep -o '10[^,}]*3001' | tr -s ' \t' ' ' | sort
}

# Ask the service address itself, as nginx does. In milliseconds rather than minutes.
ask() {
	curl -s -m 5 "http://10.$net_n.1.$1/" | head -1
}

@test "netmap: bridge, route and table are made once, and what is missing is made again" {
	nginx-render </dev/null
	ip -4 -br address show "$STARPHLEET_BRIDGE" | grep -q "10.$net_n.0.1/24"
	ip route show | grep -q "^10.$net_n.1.0/24 dev $STARPHLEET_BRIDGE .*src 10.$net_n.0.1"
	[ -z "$(ip -6 -br address show "$STARPHLEET_BRIDGE" | awk '{ print $3 }')" ]
	before=$(nft -a list table ip "$STARPHLEET_BRIDGE")
	nginx-render </dev/null
	[ "$(nft -a list table ip "$STARPHLEET_BRIDGE")" = "$before" ]
	net_claim "$one" 2
	publish echo "$one" 2
	want=$(elements)
	[ "$want" = "10.$net_n.1.1 : 10.$net_n.0.2 . 3001" ]
	for break in "nft delete table ip $STARPHLEET_BRIDGE" "nft flush chain ip $STARPHLEET_BRIDGE output" \
		"nft flush map ip $STARPHLEET_BRIDGE services" "ip route delete 10.$net_n.1.0/24" \
		"ip address flush dev $STARPHLEET_BRIDGE" "ip link set $STARPHLEET_BRIDGE down" \
		"ip link delete $STARPHLEET_BRIDGE" "nft add chain ip $STARPHLEET_BRIDGE more"; do
		$break
		nginx-render </dev/null
		[ "$(elements)" = "$want" ]
		ip route show | grep -q "^10.$net_n.1.0/24 dev $STARPHLEET_BRIDGE"
		nft list chain ip "$STARPHLEET_BRIDGE" output | grep -q 'reject with tcp reset'
	done
	[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ]
}

@test "netmap: a deploy heals a map that somebody flushed, for everybody" {
	nginx-render </dev/null
	net_claim "$one" 2
	net_claim other-1234567-aaaaaaa 3
	publish echo "$one" 2
	nft delete table ip "$STARPHLEET_BRIDGE"
	publish other other-1234567-aaaaaaa 3
	[ "$(elements | wc -l)" = 2 ]
}

@test "netmap: a bridge or table that is another's is named and stays as it is" {
	ip link add "$STARPHLEET_BRIDGE" type bridge
	ip address add 10.250.0.1/24 dev "$STARPHLEET_BRIDGE"
	run -78 nginx-render </dev/null
	[[ $output == "nginx-render: not the ship's bridge: $STARPHLEET_BRIDGE: it has the address 10.250.0.1 "* ]]
	run -78 orphan-reaper --network-down
	ip link delete "$STARPHLEET_BRIDGE"
	ip link add "$STARPHLEET_BRIDGE" type ifb
	run -78 nginx-render </dev/null
	[[ $output == "nginx-render: not the ship's bridge: $STARPHLEET_BRIDGE: it is no bridge "* ]]
	ip link delete "$STARPHLEET_BRIDGE"
	nft add table ip "$STARPHLEET_BRIDGE"
	nft add chain ip "$STARPHLEET_BRIDGE" precious
	run -78 nginx-render </dev/null
	[[ $output == "nginx-render: not the ship's nftables table: $STARPHLEET_BRIDGE: "* ]]
	nft list chain ip "$STARPHLEET_BRIDGE" precious
}

@test "netmap: a table of ours from another version is replaced, a bridge half made is finished" {
	nft -f - <<-END
		table ip $STARPHLEET_BRIDGE {
			comment "starphleet"
			map services { type ipv4_addr : ipv4_addr; }
			chain output { type filter hook prerouting priority -300; }
		}
	END
	ip link add "$STARPHLEET_BRIDGE" type bridge
	nginx-render </dev/null
	net_claim "$one" 2
	publish echo "$one" 2
	[ "$(elements)" = "10.$net_n.1.1 : 10.$net_n.0.2 . 3001" ]
}

@test "netmap: the admiral's own tables are never touched" {
	nft -f - <<-END
		table inet spt_admiral { chain input { type filter hook input priority 10; tcp dport 9 drop; }; }
	END
	before=$(nft list table inet spt_admiral)
	nginx-render </dev/null
	nft delete table ip "$STARPHLEET_BRIDGE"
	nginx-render </dev/null
	orphan-reaper --network-down
	after=$(nft list table inet spt_admiral)
	nft delete table inet spt_admiral
	[ "$after" = "$before" ]
}

@test "netmap: orphan-reaper --network-down leaves nothing, twice" {
	nginx-render </dev/null
	orphan-reaper --network-down
	never ip link show "$STARPHLEET_BRIDGE"
	never nft list table ip "$STARPHLEET_BRIDGE"
	[ -z "$(ip route show | grep "dev $STARPHLEET_BRIDGE" || :)" ]
	orphan-reaper --network-down
}

@test "netmap: a service address without an element is refused at once, even if somebody would answer" {
	nginx-render </dev/null
	net_container "$one" 2 one
	ip netns exec "spt$net_n-2" ip address add "10.$net_n.1.7/32" dev lo
	ip netns exec "spt$net_n-2" "$net_lib/upstream" "10.$net_n.1.7" 80 thief >"$net_base/thief" 2>&1 3>&- &
	net_pids="$net_pids $!"
	net_until 50 grep -q listening "$net_base/thief"
	start=$(date +%s%N)
	run -7 curl -s -m 5 "http://10.$net_n.1.7/"
	[ $((($(date +%s%N) - start) / 1000000)) -lt 500 ]
	publish echo "$one" 2
	[ "$(ask 1)" = one ]
	nginx-render <<<'{"order":"echo","gone":true}'
	run -7 curl -s -m 5 "http://10.$net_n.1.1/"
}

@test "netmap: connections that are there stay with their container over a switch" {
	nginx-render </dev/null
	net_nginx
	net_container "$one" 2 one
	net_container "$two" 3 two
	publish echo "$one" 2
	net_until 50 curl -sfo /dev/null "$url/echo/"
	curl -siN "$url/echo/slow/2" >"$BATS_TEST_TMPDIR/slow" 3>&- &
	slow=$!
	net_until 50 grep -q X-Name "$BATS_TEST_TMPDIR/slow"
	publish echo "$two" 3
	[ "$(curl -s "$url/echo/" | head -1)" = two ]
	wait "$slow"
	cat "$BATS_TEST_TMPDIR/slow"
	grep -q 'X-Name: one' "$BATS_TEST_TMPDIR/slow"
	[ "$(tail -c 20 "$BATS_TEST_TMPDIR/slow")" = .................... ]
}

@test "netmap: containers reach the ship's http port and the world, not its other ports, nor each other" {
	nginx-render </dev/null
	net_nginx
	net_container "$one" 2 one
	net_container other-1234567-aaaaaaa 3 other
	net_container "$two" 4 two
	perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 1, ReuseAddr => 1) or die $!;
		while ($s->accept) { }' "$((18300 + net_n))" 3>&- &
	net_pids="$net_pids $!"
	inside=(ip netns exec "spt$net_n-2")
	"${inside[@]}" curl -s -m 5 "http://10.$net_n.0.1:$STARPHLEET_HTTP_PORT/starphleet/nginx/status" | grep -qx ok
	run -7 "${inside[@]}" curl -s -m 5 "http://10.$net_n.0.1:$((18300 + net_n))/"
	run ! "${inside[@]}" curl -s -m 1 "http://10.$net_n.0.3:3001/"
	run ! "${inside[@]}" curl -s -m 1 "http://10.$net_n.1.1/"
	# What they send to the world leaves with the ship's address; a spoofed sender does not.
	ip netns add "spt$net_n-90"
	ip link add "v$net_n.90" type veth peer name eth0 netns "spt$net_n-90"
	ip address add "10.$net_n.2.1/24" dev "v$net_n.90"
	ip link set "v$net_n.90" up
	ip -n "spt$net_n-90" address add "10.$net_n.2.2/24" dev eth0
	ip -n "spt$net_n-90" link set eth0 up
	ip netns exec "spt$net_n-90" "$net_lib/upstream" "10.$net_n.2.2" 80 world >"$net_base/world" 2>&1 3>&- &
	net_pids="$net_pids $!"
	net_until 50 grep -q listening "$net_base/world"
	[ "$("${inside[@]}" curl -s -m 5 "http://10.$net_n.2.2/" | head -1)" = world ]
	"${inside[@]}" ip address add "10.$net_n.9.9/32" dev lo
	run ! "${inside[@]}" curl -s -m 1 --interface "10.$net_n.9.9" "http://10.$net_n.2.2/"
	# The world does not reach them, though the ship would route it.
	ip -n "spt$net_n-90" route add default via "10.$net_n.2.1"
	run ! ip netns exec "spt$net_n-90" curl -s -m 1 "http://10.$net_n.0.2:3001/"
	# Metadata of clouds.
	ip -n "spt$net_n-90" address add 169.254.169.254/32 dev lo
	ip netns exec "spt$net_n-90" "$net_lib/upstream" 169.254.169.254 80 secrets >"$net_base/secrets" 2>&1 3>&- &
	net_pids="$net_pids $!"
	net_until 50 grep -q listening "$net_base/secrets"
	ip route add 169.254.169.254/32 via "10.$net_n.2.2"
	run ! "${inside[@]}" curl -s -m 1 http://169.254.169.254/
	ip route delete 169.254.169.254/32
}

@test "row 30: addresses: the same again, the lowest free one; a dry pool is named" {
	nginx-render </dev/null
	export STARPHLEET_SERVICES=10.$net_n.1.0/30
	orphan-reaper --network-down
	for i in 1 2; do
		net_claim "svc$i-1234567-aaaaaaa" "$((i + 1))"
		publish "svc$i" "svc$i-1234567-aaaaaaa" "$((i + 1))"
	done
	[ "$(elements | cut -d' ' -f1 | tr '\n' ' ')" = "10.$net_n.1.1 10.$net_n.1.2 " ]
	net_claim svc3-1234567-aaaaaaa 4
	run -1 publish svc3 svc3-1234567-aaaaaaa 4
	jq -e --arg n "$net_n" '.error.status == 75 and .error.message == "no free address: svc3: 10.\($n).1.0/30 is used up"' <<<"$output"
	publish svc1 svc1-1234567-aaaaaaa 2
	[ "$(elements | wc -l)" = 2 ]
}

@test "row 1: 200 swaps under load, connections new and reused: nothing is lost, nothing goes backwards" {
	nginx-render </dev/null
	net_nginx
	net_container "$one" 2 even
	net_container "$two" 3 odd
	publish echo "$one" 2
	net_until 50 curl -sfo /dev/null "$url/echo/"
	"$net_lib/load" --seconds 120 --stop "$BATS_TEST_TMPDIR/stop" --rate 40 127.0.0.1 "$STARPHLEET_HTTP_PORT" /echo/ \
		>"$BATS_TEST_TMPDIR/load" 3>&- &
	load=$!
	for i in $(seq 200); do
		if [ $((i % 2)) = 1 ]; then publish echo "$two" 3; else publish echo "$one" 2; fi >/dev/null
	done
	touch "$BATS_TEST_TMPDIR/stop"
	wait "$load" || cat "$BATS_TEST_TMPDIR/load"
	echo "# $(cat "$BATS_TEST_TMPDIR/load")" >&3
	jq -es 'length == 1 and (.[0] | .lost == 0 and .requests == .ok and .requests > 1000 and .statuses == {"200": .requests}
		and (.versions | keys) == ["even", "odd"])' "$BATS_TEST_TMPDIR/load"
	[ "$(readlink "$STARPHLEET_ROOT/nginx/current")" = generations/2 ]
}
