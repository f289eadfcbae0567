#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Row 6 of the promises: every write onto a state file is fsync, rename, fsync of the folder.
bats_require_minimum_version 1.5.0
load lib/ship
load lib/phleet

setup_file() {
	ship_up
	phleet_init
	phleet_static site
	phleet_order site
}

teardown_file() { ship_down; }

# traced NAME COMMAND...: runs it under strace with its workers.
traced() {
	local name=$1
	shift
	strace -ff -y -qq -s 4096 -e trace=rename,renameat,renameat2,fsync,fdatasync,syncfs \
		-o "$SHIP_DIR/trace/$name" "$@"
}

@test "row 6: in a first deploy and a second one no state file can be lost or torn by a power cut" {
	mkdir -p "$SHIP_DIR/trace"
	for version in 1 2; do
		[ "$version" = 1 ] || phleet_push site 'site 2'
		traced "hq$version" hq-sync >"$SHIP_DIR/1"
		traced "parse$version" orders-parse <"$SHIP_DIR/1" >"$SHIP_DIR/2"
		traced "services$version" hq-sync --services <"$SHIP_DIR/2" >"$SHIP_DIR/3"
		# Not under strace: it would have to follow the container too, and LXC starts none that is traced.
		container-build <"$SHIP_DIR/3" >"$SHIP_DIR/4"
		traced "health$version" healthcheck <"$SHIP_DIR/4" >"$SHIP_DIR/5"
		traced "render$version" nginx-render <"$SHIP_DIR/5" >"$SHIP_DIR/out"
		[ "$(jq -r .state "$SHIP_DIR/out")" = online ]
	done
	run "$BATS_TEST_DIRNAME/lib/durable-renames" "$STARPHLEET_ROOT" "$SHIP_DIR"/trace/*
	echo "$output"
	[ "$status" -eq 0 ]
	# The trace saw state being written, or the count above would say nothing.
	[[ "${lines[-1]}" =~ ^[1-9][0-9]*\ renames ]]
}

@test "row 6: what container-build says of a build that failed cannot be lost or torn either" {
	mkdir -p "$SHIP_DIR/trace-failed"
	phleet_git -C "$SHIP_DIR/work/site" rm -q index.html
	phleet_commit site 'no buildpack knows this'
	hq-sync | orders-parse | hq-sync --services |
		strace -ff -y -qq -s 4096 -e trace=rename,renameat,renameat2,fsync,fdatasync,syncfs \
			-o "$SHIP_DIR/trace-failed/build" container-build >"$SHIP_DIR/out" || :
	[ "$(jq -r .state "$SHIP_DIR/out")" = 'building failed' ]
	run "$BATS_TEST_DIRNAME/lib/durable-renames" "$STARPHLEET_ROOT" "$SHIP_DIR"/trace-failed/*
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "${lines[-1]}" =~ ^[1-9][0-9]*\ renames ]]
}
