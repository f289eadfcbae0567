# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A headquarters of orders files in the test's own folder, and what orders-parse makes of them.
# shellcheck disable=SC2154 # output, stderr and status are set by run

orders_setup() {
	export STARPHLEET_ROOT=$BATS_TEST_TMPDIR/root STARPHLEET_RUN=$BATS_TEST_TMPDIR/run
	export STARPHLEET_ETC=$BATS_TEST_TMPDIR/etc STARPHLEET_INI=/dev/null
	export STARPHLEET_SHARE=${STARPHLEET_SHARE:-$BATS_TEST_DIRNAME/../share}
	unset STARPHLEET_PULSE STARPHLEET_DRAINSTOP_WAIT STARPHLEET_BUILDS
	hq=$BATS_TEST_TMPDIR/hq
	mkdir -p "$hq" "$STARPHLEET_ETC"
}

# order NAME [LINE...]: an orders file with these lines, or from standard input.
order() {
	local name=$1
	shift
	mkdir -p "$hq/$name"
	if [ $# -gt 0 ]; then
		printf '%s\n' "$@" >"$hq/$name/orders"
	else
		cat >"$hq/$name/orders"
	fi
}

# records [NAME...]: as hq-sync hands them on.
records() {
	local name
	for name in "$@"; do
		jq -cn --arg o "$name" --arg d "$hq${name:+/$name}" --arg h "$hq" \
			'{order: $o, dir: $d, headquarters: {dir: $h}}'
	done
}

# parse NAME: run orders-parse on one order; its record is $output.
parse() {
	run --separate-stderr orders-parse < <(records "$@")
}

# good NAME, bad NAME MESSAGE [STATUS]: parse, and judge.
good() {
	parse "$1"
	echo "$output$stderr"
	[ "$status" -eq 0 ] && [ "$(jq .error <<<"$output")" = null ]
}

bad() {
	parse "$1"
	echo "$output$stderr"
	[ "$status" -eq 1 ]
	[ "$(jq -r .error.message <<<"$output")" = "$2" ]
	[ "$(jq -r .error.status <<<"$output")" = "${3:-78}" ]
	[ "$(jq -r .error.tool <<<"$output")" = orders-parse ]
	[ "$(jq 'has("env") or has("orders_id") or has("autodeploy")' <<<"$output")" = false ]
}

env_of() { jq -r --arg n "$1" '.env[$n] // "(unset)"' <<<"$output"; }
setting_of() { jq -r --arg n "$1" '.settings[$n] // "(unset)"' <<<"$output"; }
