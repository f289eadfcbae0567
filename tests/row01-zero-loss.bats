#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Rows 1 and 2 of the promises: no request is lost while versions swap, or fail to.
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

load_start() {
	"$BATS_TEST_DIRNAME/lib/load" --clients 16 --seconds 36000 --rate 50 --stop "$SHIP_DIR/enough" \
		127.0.0.1 "$STARPHLEET_HTTP_PORT" /site/ >"$SHIP_DIR/load.json" 3>&- &
	load=$!
}

load_end() {
	: >"$SHIP_DIR/enough"
	wait "$load" || :
	jq -c 'del(.versions)' "$SHIP_DIR/load.json" | tee >(sed 's/^/# /' >&3)
}

@test "row 1: deploys under load lose no request and show every version in order" {
	faults_steps 20 200
	load_start
	expected='site 1'
	for step in $(seq "$first" "$steps"); do
		phleet_push site "version $step"
		touch "$STARPHLEET_RUN/pulse"
		ship_until 30 answers "version $step"
		expected="$expected,version $step"
		faults_done "$step"
	done
	load_end
	[ "$(jq '.lost + .backwards + (.requests - .ok)' "$SHIP_DIR/load.json")" -eq 0 ]
	[ "$(jq '.requests' "$SHIP_DIR/load.json")" -gt "$steps" ]
	[ "$(jq -r '.sequence | join(",")' "$SHIP_DIR/load.json")" = "$expected" ]
	# Not one reload: nginx's workers are those that were there before.
}

@test "row 1: a revert under load serves the older content again, from its layer, without a build" {
	phleet_push site 'version 2'
	touch "$STARPHLEET_RUN/pulse"
	ship_until 30 answers 'version 2'
	before=$(find "$STARPHLEET_LAYERS" -mindepth 1 -maxdepth 1 | sort)
	load_start
	# The same commit as the first: also what a revert that is a reset leads to.
	phleet_git -C "$SHIP_DIR/work/site" push -qf origin HEAD~1:main
	touch "$STARPHLEET_RUN/pulse"
	ship_until 30 answers 'site 1'
	phleet_git -C "$SHIP_DIR/work/site" push -qf origin HEAD:main
	touch "$STARPHLEET_RUN/pulse"
	ship_until 30 answers 'version 2'
	# A revert is a new commit with the old content: the same tree, so the same layer.
	phleet_revert site
	touch "$STARPHLEET_RUN/pulse"
	ship_until 30 answers 'site 1'
	load_end
	[ "$(jq '.lost + (.requests - .ok)' "$SHIP_DIR/load.json")" -eq 0 ]
	[ "$(find "$STARPHLEET_LAYERS" -mindepth 1 -maxdepth 1 | sort)" = "$before" ]
}

serving_pid() { # the service's own process, and when it began
	local container
	container=$(jq -r .container "$STARPHLEET_ROOT/current_orders/site/serving.json")
	lxc-info -P "$LXC_ROOT" -n "$container" -pH
}

@test "row 2: failing deploys under load lose no request, and the old process serves throughout" {
	faults_steps 3 50
	before=$(serving_pid)
	load_start
	for step in $(seq "$first" "$steps"); do
		case $((step % 3)) in
		# No buildpack knows it; a build that fails; a service that answers 500 to its check.
		0) phleet_git -C "$SHIP_DIR/work/site" rm -q --ignore-unmatch index.html package.json ;;
		1) echo '{"scripts":{"start":"exit 1"},"dependencies":{"no such package":"nor such a version"}}' \
			>"$SHIP_DIR/work/site/package.json" ;;
		2) mkdir -p "$SHIP_DIR/work/site"
			rm -f "$SHIP_DIR/work/site/package.json"
			echo "web: sh -c 'exit 1'" >"$SHIP_DIR/work/site/Procfile"
			echo "broken $step" >"$SHIP_DIR/work/site/index.html" ;;
		esac
		phleet_commit site "broken $step"
		commit=$(phleet_git -C "$SHIP_DIR/work/site" rev-parse HEAD)
		touch "$STARPHLEET_RUN/pulse"
		ship_until 120 refused "$commit"
		[ "$(phleet_get /site/)" = 'site 1' ]
		faults_done "$step"
	done
	load_end
	[ "$(jq '.lost + (.requests - .ok)' "$SHIP_DIR/load.json")" -eq 0 ]
	[ "$(jq -r '.sequence | join(",")' "$SHIP_DIR/load.json")" = 'site 1' ]
	[ "$(serving_pid)" = "$before" ]
}

refused() { # the ship says of this commit that it does not serve, and why
	jq -e --arg commit "$1" '.service.commit == $commit and .error.message != "" and
		(.state == "failed" or .state == "building failed")' \
		"$STARPHLEET_ROOT/current_orders/site/wanted.json" >/dev/null
}
