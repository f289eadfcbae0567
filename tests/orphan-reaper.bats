#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# orphan-reaper: what is over goes, what serves, what is foreign and what cannot be read stays. The
# containers are directories as container-build leaves them, so that each case is made in a moment.

# bats runs each test in a subshell, and load is not followed.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load lib/net

setup() {
	net_up
	nginx-render </dev/null
}

teardown() {
	net_down
}

one=echo-1234567-aaaaaaa
two=echo-1234567-bbbbbbb

# container NAME HOST: stopped, and claimed.
container() {
	mkdir -p "$LXC_ROOT/$1"
	printf 'lxc.uts.name = %s\n' "${1//+/-}" >"$LXC_ROOT/$1/config"
	jq -n --arg root "$STARPHLEET_ROOT" --arg address "10.$net_n.0.$2" --arg name "$1" \
		'{root: $root, order: "echo", layers: ["abc"], address: $address, port: 3001}' >"$LXC_ROOT/$1/starphleet.json"
	net_claim "$1" "$2"
}

claims() {
	jq -r 'to_entries[] | select(.value.boot_id == null) | .key' "$STARPHLEET_ROOT/addresses/$1.json" | sort | tr '\n' ' '
}

# note CONTAINER JQ-FILTER: change its draining note.
note() {
	local file=$STARPHLEET_ROOT/current_orders/echo/draining/$1
	jq "$2" "$file" >"$file.new" && mv "$file.new" "$file"
}

# One replaced by two.
replaced() {
	container "$one" 2
	container "$two" 3
	publish echo "$one" 2 >/dev/null
	publish echo "$two" 3 >/dev/null
}

@test "orphan-reaper: --help, --version, misuse" {
	run -0 orphan-reaper --help
	[[ $output == "usage: orphan-reaper [-v] [--superseded | --network-down] [--dry-run]"* ]]
	run -0 orphan-reaper --version
	[[ $output == orphan-reaper\ * ]]
	run -64 orphan-reaper --nonsense
	run -64 orphan-reaper operand
	run -64 orphan-reaper --superseded --network-down
}

@test "orphan-reaper: a drained container goes at its deadline, not before, with its address" {
	replaced
	orphan-reaper --superseded
	[ -e "$LXC_ROOT/$one" ]
	note "$one" '.deadline_ms = 1'
	run -0 orphan-reaper --superseded --dry-run
	[ "$output" = "container $one" ]
	[ -e "$LXC_ROOT/$one" ]
	run -0 orphan-reaper --superseded
	[ -z "$output" ]
	[ ! -e "$LXC_ROOT/$one" ]
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo/draining/$one" ]
	[ -e "$LXC_ROOT/$two" ]
	[ "$(claims containers)" = "$two " ]
	nft list map ip "$STARPHLEET_BRIDGE" services | grep -q "10.$net_n.0.3 "
	orphan-reaper --superseded
}

@test "orphan-reaper: a drain of an earlier boot is over" {
	replaced
	note "$one" '.boot_id = "another"'
	orphan-reaper --superseded
	[ ! -e "$LXC_ROOT/$one" ]
	[ -e "$LXC_ROOT/$two" ]
}

@test "row 33: what serves again is not destroyed, whatever its note says" {
	replaced
	cp "$STARPHLEET_ROOT/current_orders/echo/draining/$one" "$BATS_TEST_TMPDIR/note"
	publish echo "$one" 2 >/dev/null
	cp "$BATS_TEST_TMPDIR/note" "$STARPHLEET_ROOT/current_orders/echo/draining/$one"
	note "$one" '.deadline_ms = 1'
	orphan-reaper --superseded
	[ -e "$LXC_ROOT/$one" ]
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo/draining/$one" ]
}

@test "row 33: an unreadable serving.json or note destroys nothing" {
	replaced
	note "$one" '.deadline_ms = 1'
	cp "$STARPHLEET_ROOT/current_orders/echo/serving.json" "$BATS_TEST_TMPDIR/serving"
	echo '{"contai' >"$STARPHLEET_ROOT/current_orders/echo/serving.json"
	run ! orphan-reaper --superseded
	[[ $output == "orphan-reaper: not a state file"* ]]
	[ -e "$LXC_ROOT/$one" ]
	cp "$BATS_TEST_TMPDIR/serving" "$STARPHLEET_ROOT/current_orders/echo/serving.json"
	echo '{}' >"$STARPHLEET_ROOT/current_orders/echo/draining/$one"
	orphan-reaper --superseded
	[ -e "$LXC_ROOT/$one" ]
}

@test "orphan-reaper: an order that is being deployed is passed over" {
	replaced
	note "$one" '.deadline_ms = 1'
	exec 7>"$STARPHLEET_ROOT/current_orders/echo/lock"
	flock 7
	run -0 orphan-reaper --superseded
	[ -z "$output" ]
	[ -e "$LXC_ROOT/$one" ]
	exec 7>&-
	orphan-reaper --superseded
	[ ! -e "$LXC_ROOT/$one" ]
}

@test "orphan-reaper: purges what is gone, all of it, and nothing else" {
	replaced
	container echo-two-1234567-aaaaaaa 4
	publish echo-two echo-two-1234567-aaaaaaa 4 >/dev/null
	mkdir -p "$STARPHLEET_ROOT/logs/echo" "$STARPHLEET_ROOT/logs/echo-two" "$LXC_ROOT/echo-1234567-ccccccc"
	echo '{"root":"/another"}' >"$LXC_ROOT/echo-1234567-ccccccc/starphleet.json"
	touch "$STARPHLEET_ROOT/logs/echo/$one.log"
	nginx-render <<<'{"order":"echo","gone":true}' >/dev/null
	orphan-reaper --superseded
	[ -e "$LXC_ROOT/$two" ]
	run -0 orphan-reaper --dry-run
	[ "$(sort <<<"$output" | tr '\n' ' ')" = "container $one container $two state echo " ]
	orphan-reaper
	[ ! -e "$LXC_ROOT/$one" ]
	[ ! -e "$LXC_ROOT/$two" ]
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo" ]
	[ ! -e "$STARPHLEET_ROOT/logs/echo" ]
	[ "$(find "$STARPHLEET_ROOT/current_orders" -mindepth 1 -maxdepth 1 -printf '%f ')" = "echo-two " ]
	[ -e "$LXC_ROOT/echo-1234567-ccccccc" ]
	[ -e "$LXC_ROOT/echo-two-1234567-aaaaaaa" ]
	[ -e "$STARPHLEET_ROOT/logs/echo-two" ]
	[ "$(claims containers)" = "echo-two-1234567-aaaaaaa " ]
	[ "$(claims services)" = "echo-two " ]
	nft list map ip "$STARPHLEET_BRIDGE" services | grep -q "10.$net_n.0.4 "
}

@test "orphan-reaper: an order that is back, or only failed, is no orphan" {
	replaced
	nginx-render <<<'{"order":"echo","gone":true}' >/dev/null
	publish echo "$two" 3 >/dev/null
	orphan-reaper
	[ -e "$LXC_ROOT/$one" ]
	[ -e "$LXC_ROOT/$two" ]
	jq '.error = {tool: "container-build", message: "no", status: 78}' "$STARPHLEET_ROOT/current_orders/echo/wanted.json" >"$BATS_TEST_TMPDIR/w"
	cp "$BATS_TEST_TMPDIR/w" "$STARPHLEET_ROOT/current_orders/echo/wanted.json"
	orphan-reaper
	[ -e "$LXC_ROOT/$two" ]
}

@test "orphan-reaper: without a headquarters, an empty run directory, no state at all: nothing is destroyed" {
	replaced
	rm -rf "$STARPHLEET_RUN"
	orphan-reaper
	orphan-reaper --superseded
	[ -e "$LXC_ROOT/$one" ]
	[ -e "$LXC_ROOT/$two" ]
}

@test "orphan-reaper: addresses of containers that never came to be are given back; they rest a minute" {
	replaced
	net_claim echo-1234567-ddddddd 9
	orphan-reaper --superseded
	[ "$(claims containers)" = "$one $two " ]
	jq -e --arg boot "$(cat /proc/sys/kernel/random/boot_id)" '."echo-1234567-ddddddd" | .boot_id == $boot and .free_ms > 0' \
		"$STARPHLEET_ROOT/addresses/containers.json"
}

@test "orphan-reaper: trees that nothing names go after an hour" {
	replaced
	repo=$STARPHLEET_ROOT/repos/0123/trees
	hq=$STARPHLEET_ROOT/headquarters/trees
	mkdir -p "$repo/old" "$repo/wanted" "$repo/young" "$repo/.gone-killed" "$hq/old/echo" "$hq/wanted/echo" "$hq/pulse"
	touch -d '2 hours ago' "$repo"/* "$hq"/*
	touch "$repo/young"
	record echo "$two" 3 ".service.dir = \"$repo/wanted\" | .dir = \"$hq/wanted/echo\"" | nginx-render >/dev/null
	echo "{\"order\":\"x\",\"dir\":\"$hq/pulse/x\"}" >"$STARPHLEET_RUN/records.jsonl"
	run -0 orphan-reaper --superseded --dry-run
	[ "$(grep '^tree' <<<"$output" | sort)" = "$(printf 'tree %s\n' "$hq/old" "$repo/old")" ]
	orphan-reaper --superseded
	[ "$(find "$repo" "$hq" -mindepth 1 -maxdepth 1 -printf '%f ' | tr ' ' '\n' | sort | tr '\n' ' ')" = "pulse wanted wanted young " ]
}

@test "orphan-reaper: build layers: the newest ten of an order, those in use and all bases stay" {
	replaced
	export STARPHLEET_LAYERS=$BATS_TEST_TMPDIR/layers
	layer() {
		mkdir -p "$STARPHLEET_LAYERS/$1/root"
		echo "{\"kind\":\"$2\",\"order\":\"$3\",\"root\":\"$STARPHLEET_ROOT\",\"created\":1}" >"$STARPHLEET_LAYERS/$1/layer.json"
		touch -d "$4" "$STARPHLEET_LAYERS/$1/layer.json"
	}
	hex() { printf '%064x' "$1"; }
	for i in $(seq 14); do layer "$(hex "$i")" build echo "$((i + 2)) hours ago"; done
	for i in $(seq 21 24); do layer "$(hex "$i")" build other "$i hours ago"; done
	layer "$(hex 31)" base "" "100 days ago"
	layer "$(hex 32)" stack "" "100 days ago"
	jq --arg held "$(hex 13)" '.layers = [$held]' "$LXC_ROOT/$two/starphleet.json" >"$BATS_TEST_TMPDIR/a"
	cp "$BATS_TEST_TMPDIR/a" "$LXC_ROOT/$two/starphleet.json"
	run -0 orphan-reaper --superseded --dry-run
	[ "$(grep '^layer' <<<"$output" | sort)" = "$(printf 'layer %s\n' "$(hex 11)" "$(hex 12)" "$(hex 14)")" ]
	orphan-reaper --superseded
	[ "$(find "$STARPHLEET_LAYERS" -mindepth 1 -maxdepth 1 -type d | wc -l)" = 17 ]
	[ -e "$STARPHLEET_LAYERS/$(hex 13)" ]
}

@test "orphan-reaper: logs of the newest five containers that are gone, and of those that are there, stay" {
	replaced
	logs=$STARPHLEET_ROOT/logs/echo
	mkdir -p "$logs"
	for i in $(seq 9); do
		touch -d "$i hours ago" "$logs/echo-1234567-000000$i.log" "$logs/echo-1234567-000000$i.build.log"
	done
	touch -d '9 days ago' "$logs/$one.log"
	echo outside >"$BATS_TEST_TMPDIR/outside"
	ln -s "$BATS_TEST_TMPDIR/outside" "$logs/echo-1234567-0000009.log.1"
	touch -h -d '9 hours ago' "$logs/echo-1234567-0000009.log.1"
	orphan-reaper --superseded
	[ "$(find "$logs" -mindepth 1 | wc -l)" = 11 ]
	[ -e "$logs/$one.log" ]
	[ -e "$logs/echo-1234567-0000005.build.log" ]
	[ ! -e "$logs/echo-1234567-0000006.log" ]
	[ "$(cat "$BATS_TEST_TMPDIR/outside")" = outside ]
}

@test "row 4: killed at any moment, the next run finishes" {
	replaced
	note "$one" '.deadline_ms = 1'
	nginx-render <<<'{"order":"echo","gone":true}' >/dev/null
	for n in 2 4 6 9 13 18 24 31 40 55; do
		timeout -s KILL "0.0$((n + 9))" orphan-reaper || :
	done
	mkdir -p "$STARPHLEET_ROOT/current_orders/.gone-echo/draining"
	orphan-reaper
	[ ! -e "$LXC_ROOT/$one" ]
	[ ! -e "$LXC_ROOT/$two" ]
	[ -z "$(ls -A "$STARPHLEET_ROOT/current_orders")" ]
	[ -z "$(claims containers)" ]
}
