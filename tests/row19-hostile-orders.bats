#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Row 19 of the promises: orders that loop, print, fork or eat are ended, and cost the others nothing.
bats_require_minimum_version 1.5.0
load lib/ship
load lib/phleet

setup_file() {
	ship_up
	phleet_init
	phleet_static site
	service=site phleet_order good
}

teardown_file() { ship_down; }

teardown() {
	rm -rf "$SHIP_DIR/work/hq/bad"
	phleet_commit hq 'without the bad one'
}

# The bad order has these lines. Afterwards: its record says why, the good order's is whole, all
# within the limit, and no process of the evaluation is left.
ended() { # ended SECONDS PATTERN LINE...
	local limit=$1 pattern=$2 start=$SECONDS
	shift 2
	service=site phleet_order bad "$@"
	run --separate-stderr sh -c 'hq-sync | orders-parse'
	echo "$output"
	[ "$status" -eq 1 ]
	[ $((SECONDS - start)) -le "$limit" ]
	[ "$(jq -r 'select(.error | not) | .order' <<<"$output")" = good ]
	[[ "$(jq -r 'select(.order == "bad") | .error.message' <<<"$output")" =~ $pattern ]]
	run pgrep -fa 'starphleet-row-19'
	[ "$status" -eq 1 ]
}

@test "row 19: an endless loop is ended within 10 s" {
	ended 15 'bad' 'mark=starphleet-row-19' 'while :; do :; done'
}

@test "row 19: endless sleep is ended within 10 s" {
	ended 15 'bad' 'exec -a starphleet-row-19 sleep 1000'
}

@test "row 19: gigabytes of output are ended" {
	ended 15 'bad' 'while :; do printf "%01000d" 0; done'
}

@test "row 19: a fork bomb is ended, and its children with it" {
	ended 15 'bad' 'bomb() { (exec -a starphleet-row-19 sleep 1000) & bomb | bomb & }; bomb; wait; sleep 1000'
}

@test "row 19: memory is limited" {
	ended 15 'bad' 'x=starphleet-row-19; while :; do x=$x$x; done'
}

@test "row 19: an order that exits with 3 says so" {
	ended 15 '3' 'exit 3'
}

@test "row 19: orders of 10,000 lines are evaluated, in about a second" {
	local lines=()
	for i in $(seq 10000); do lines+=("export VALUE_$((i % 100))='a value in line $i'"); done
	service=site phleet_order bad "${lines[@]}"
	hq-sync >"$SHIP_DIR/records"
	start=${EPOCHREALTIME/./}
	run --separate-stderr orders-parse <"$SHIP_DIR/records"
	took=$((${EPOCHREALTIME/./} - start))
	[ "$status" -eq 0 ]
	[ "$(jq -r 'select(.order == "bad") | .env.VALUE_0' <<<"$output")" = 'a value in line 10000' ]
	# Not a figure to be proud of: a bound far above it, which a quadratic reader would miss.
	[ "$took" -lt 10000000 ]
}
