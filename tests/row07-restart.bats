#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Row 7 of the promises: the ship comes back by itself, whole, from disk, with nothing built again.
bats_require_minimum_version 1.5.0
load lib/ship
load lib/phleet
load lib/faults

setup() {
	ship_up
	phleet_init
	for name in one two; do
		phleet_static "$name"
		phleet_order "$name"
	done
	ship_start
	ship_until 60 all_answer
	layers=$(find "$STARPHLEET_LAYERS" -mindepth 1 -maxdepth 1 | sort)
	configuration=$(cat "$STARPHLEET_ROOT"/nginx/current/*)
	addresses=$(serving .address)
}

teardown() {
	ship_stop
	ship_down
}

all_answer() {
	[ "$(phleet_get /one/ 2>/dev/null)" = 'one 1' ] && [ "$(phleet_get /two/ 2>/dev/null)" = 'two 1' ]
}

serving() { jq -c "[.order, $1]" "$STARPHLEET_ROOT"/current_orders/*/serving.json; }

as_before() {
	[ "$(find "$STARPHLEET_LAYERS" -mindepth 1 -maxdepth 1 | sort)" = "$layers" ]
	[ "$(cat "$STARPHLEET_ROOT"/nginx/current/*)" = "$configuration" ]
	[ "$(serving .address)" = "$addresses" ]
}

@test "row 7: every process killed, the network gone: started again, all services answer" {
	faults_steps 2 50
	for step in $(seq "$first" "$steps"); do
		ship_kill
		wait "$ship_pid" 2>/dev/null || :
		# As after a reboot: no table, no bridge, nothing in /run.
		nft delete table ip "$STARPHLEET_BRIDGE"
		ip link delete "$STARPHLEET_BRIDGE"
		find "$STARPHLEET_RUN" -mindepth 1 -delete
		: >"$SHIP_DIR/ship.log"
		began=${EPOCHREALTIME/./}
		ship_start
		ship_until 30 all_answer
		echo "# step $step: all services answer after $(((${EPOCHREALTIME/./} - began) / 1000)) ms" >&3
		as_before
		faults_done "$step"
	done
}

@test "row 7: with its Git server gone the ship comes back all the same" {
	ship_kill
	wait "$ship_pid" 2>/dev/null || :
	mv "$SHIP_DIR/git" "$SHIP_DIR/git-gone"
	: >"$SHIP_DIR/ship.log"
	ship_start
	ship_until 30 all_answer
	as_before
}

@test "row 7: a container stopped by hand is started again, without a build" {
	container=$(jq -r .container "$STARPHLEET_ROOT/current_orders/one/serving.json")
	lxc-stop -P "$LXC_ROOT" -n "$container" -k
	ship_until 40 all_answer
	as_before
}

@test "row 7: a web process that is killed is started again within its container" {
	container=$(jq -r .container "$STARPHLEET_ROOT/current_orders/one/serving.json")
	init=$(lxc-info -P "$LXC_ROOT" -n "$container" -pH)
	lxc-attach -P "$LXC_ROOT" -n "$container" -- pkill -KILL nginx
	ship_until 20 all_answer
	[ "$(lxc-info -P "$LXC_ROOT" -n "$container" -pH)" = "$init" ]
	as_before
}
