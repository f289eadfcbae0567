#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Row 29 of the promises: after any number of deploys, good and failed, nothing is left over.
bats_require_minimum_version 1.5.0
load lib/ship
load lib/phleet
load lib/faults

setup() {
	ship_up
	phleet_init
	phleet_static site
	phleet_order site
	ship_start
	ship_until 60 answers 'site 1'
}

teardown() {
	ship_stop
	ship_down
}

answers() { [ "$(phleet_get /site/ 2>/dev/null)" = "$1" ]; }

settled() { # nothing drains any more, and only one container is there
	[ -z "$(find "$STARPHLEET_ROOT/current_orders" -path '*/draining/*' -print -quit)" ] &&
		[ "$(find "$LXC_ROOT" -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
}

# Bounded by design: trees and layers are kept for a few rollbacks, an address rests for a minute.
bounded() {
	[ "$(find "$STARPHLEET_ROOT"/repos/*/trees -mindepth 1 -maxdepth 1 | wc -l)" -le 12 ] &&
		[ "$(own_layers)" -le 12 ]
}

own_layers() {
	grep -lF "\"$STARPHLEET_ROOT\"" "$STARPHLEET_LAYERS"/*/layer.json 2>/dev/null |
		xargs -r grep -lE '"kind": ?"build"' | wc -l
}

@test "row 29: twenty deploys and five failed ones later, all resources are as they were" {
	faults_steps 20 500
	ship_until 30 settled
	before=$(ship_resources)
	for step in $(seq "$first" "$steps"); do
		if [ $((step % 4)) -eq 0 ]; then
			mv "$SHIP_DIR/work/site/index.html" "$SHIP_DIR/work/site/other.html"
			phleet_commit site "broken $step"
			commit=$(phleet_git -C "$SHIP_DIR/work/site" rev-parse HEAD)
			touch "$STARPHLEET_RUN/pulse"
			ship_until 60 refused "$commit"
			mv "$SHIP_DIR/work/site/other.html" "$SHIP_DIR/work/site/index.html"
		fi
		phleet_push site "version $step"
		touch "$STARPHLEET_RUN/pulse"
		ship_until 60 answers "version $step"
		faults_done "$step"
	done
	ship_until 60 settled
	# What was used within the hour stays in any case; let it be older.
	grep -lF "\"$STARPHLEET_ROOT\"" "$STARPHLEET_LAYERS"/*/layer.json | while read -r about; do
		touch -d '2 hours ago' "$about" "${about%/*}"
	done
	find "$STARPHLEET_ROOT"/repos/*/trees -mindepth 1 -maxdepth 1 -exec touch -d '2 hours ago' {} +
	rm -f "$STARPHLEET_RUN/collected" # it looks every ten minutes
	ship_until 60 bounded
	ship_until 20 same_resources || :
	run diff <(echo "$before") <(ship_resources)
	echo "$output"
	[ "$status" -eq 0 ]
}

same_resources() { [ "$(ship_resources)" = "$before" ]; }

refused() {
	jq -e --arg commit "$1" '.service.commit == $commit and .error' \
		"$STARPHLEET_ROOT/current_orders/site/wanted.json" >/dev/null
}

@test "row 29: the resident processes together take less than 12 MB" {
	# PSS without nginx and LXC's monitors, as the design counts it.
	total=0
	for pid in $(ship_processes); do
		case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
		*nginx* | *'[lxc monitor]'* | '') continue ;;
		esac
		grep -q "starphleet/$STARPHLEET_BRIDGE" "/proc/$pid/cgroup" && continue
		pss=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || echo 0)
		total=$((total + pss))
	done
	echo "# $total kB" >&3
	[ "$total" -gt 0 ]
	[ "$total" -lt 12288 ]
}
