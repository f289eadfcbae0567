#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Row 18 of the promises: an order of any name works or is refused by name, and no other is touched.
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

# An order in a directory of that name (any bytes but NUL), which Git carries to the ship.
odd_order() {
	mkdir -p "$SHIP_DIR/work/hq/$1"
	cp "$SHIP_DIR/work/hq/good/orders" "$SHIP_DIR/work/hq/$1/orders"
	phleet_commit hq 'an odd name'
}

refused_by_name() { # refused_by_name DIRECTORY SHOWN: one record, an error, that shows the name so
	odd_order "$1"
	run --separate-stderr sh -c 'hq-sync | orders-parse'
	[ "$status" -eq 1 ]
	[ "$(jq -s 'length' <<<"$output")" -eq 2 ]
	[ "$(jq -r 'select((.error or .gone) | not) | .order' <<<"$output")" = good ]
	[[ "$(jq -r 'select(.error) | .error.message' <<<"$output")" == *"$2"* ]]
}

teardown() {
	find "$SHIP_DIR/work/hq" -mindepth 1 -maxdepth 1 -type d ! -name good ! -name .git -exec rm -rf {} +
	phleet_commit hq 'clean'
}

@test "row 18: a blank in a name is refused" { refused_by_name 'a b' 'a b'; }
@test "row 18: a newline in a name is refused, and shown as an escape" { refused_by_name $'a\nb' 'a\x0ab'; }
@test "row 18: UTF-8 in a name is refused" { refused_by_name 'grüße' 'grüße'; }
@test "row 18: bytes that are no UTF-8 are refused, and shown as escapes" { refused_by_name $'a\xffb' 'a\xffb'; }
@test "row 18: a leading dash is refused" { refused_by_name '-rf' '-rf'; }
@test "row 18: a percent sign is refused" { refused_by_name 'a%2e' 'a%2e'; }
@test "row 18: a dollar sign is refused" { refused_by_name 'a$host' 'a$host'; }
@test "row 18: quotes are refused" { refused_by_name "a\"'b" "a\"'b"; }
@test "row 18: nginx's words are refused" { refused_by_name 'a;}b' 'a;}b'; }
@test "row 18: a name of 255 bytes is refused" {
	refused_by_name "$(printf 'n%.0s' $(seq 255))" 'longer than 160 bytes'
}
@test "row 18: a reserved name is refused" { refused_by_name starphleet starphleet; }

@test "row 18: dots, a name that ends in .conf, a nested name and a container's look-alike all deploy" {
	for name in con.conf a.b_c a/b site-1234567; do odd_order "$name"; done
	phleet_deploy >"$SHIP_DIR/out"
	nginx -p "$STARPHLEET_ROOT/nginx" -c "$STARPHLEET_ROOT/nginx/current/nginx.conf" 3>&-
	[ "$(jq -r 'select(.state == "online") | .order' "$SHIP_DIR/out" | sort | xargs)" = \
		'a.b_c a/b con.conf good site-1234567' ]
	for name in con.conf a.b_c a/b site-1234567 good; do
		[ "$(phleet_get "/$name/")" = 'site 1' ]
	done
}

@test "row 18: of two names that differ only in case one is refused by name" {
	service=site phleet_order case
	service=site phleet_order CASE
	run --separate-stderr sh -c 'hq-sync | orders-parse'
	echo "$output"
	[ "$status" -eq 1 ]
	[ "$(jq -rs '[.[] | select((.error or .gone) | not) | .order | ascii_downcase] | sort | join(" ")' <<<"$output")" = 'case good' ]
	[[ "$(jq -r 'select(.error) | .error.message' <<<"$output")" == *[cC][aA][sS][eE]* ]]
}
