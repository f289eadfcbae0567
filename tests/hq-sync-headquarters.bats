#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own, and exports for itself
# shellcheck disable=SC2016 # what looks like an expansion is a hostile name
# hq-sync without a mode: which orders there are, by name; and which URLs are refused.
bats_require_minimum_version 1.5.0
load lib/git-servers

setup() {
	export STARPHLEET_ROOT=$BATS_TEST_TMPDIR/root STARPHLEET_RUN=$BATS_TEST_TMPDIR/run
	export STARPHLEET_ETC=$BATS_TEST_TMPDIR/etc STARPHLEET_INI=/dev/null STARPHLEET_ALLOW_FILE_URLS=1
	export STARPHLEET_SHARE=${STARPHLEET_SHARE:-$BATS_TEST_DIRNAME/../share}
	export GIT_SERVERS=$BATS_TEST_TMPDIR
	unset STARPHLEET_REPOSITORY_LIMIT STARPHLEET_GIT_TIMEOUT
	mkdir -p "$GIT_SERVERS/git" "$GIT_SERVERS/work"
	git init -q --bare "$GIT_SERVERS/git/hq.git"
	git init -q "$GIT_SERVERS/work/hq"
	hq=$GIT_SERVERS/work/hq
	git -C "$hq" remote add origin "$GIT_SERVERS/git/hq.git"
	export STARPHLEET_HEADQUARTERS=file://$GIT_SERVERS/git/hq.git
}

order() { # order DIRECTORY...: each with an orders file
	local dir
	for dir; do
		mkdir -p "$hq/$dir"
		echo 'export A=1' >"$hq/$dir/orders"
	done
}

push() {
	git -C "$hq" add -A
	git -C "$hq" commit -q --allow-empty -m change
	git -C "$hq" push -q --force origin HEAD:main
}

names() { jq -r 'select(.error == null) | .order' | paste -sd' '; }
faults() { jq -r 'select(.error) | .error.message'; }

serves() { # serves ORDER...: state as if they served
	local order word
	for order; do
		word=${order//\//+}
		mkdir -p "$STARPHLEET_ROOT/current_orders/${word:-+}"
		echo '{"order":"x"}' >"$STARPHLEET_ROOT/current_orders/${word:-+}/serving.json"
	done
}

@test "a record for each orders file, at any depth, the root among them" {
	order . echo api/v1 deep/er/and/deeper github
	mkdir -p "$hq/empty" "$hq/data"
	echo x >"$hq/data/file"
	push
	run --separate-stderr hq-sync
	[ "$status" -eq 0 ] && [ -z "$stderr" ]
	[ "$(names <<<"$output")" = " api/v1 deep/er/and/deeper echo github" ]
	commit=$(commit_of hq)
	[ "$(jq -c 'select(.order == "api/v1")' <<<"$output")" = "$(jq -cn --arg d "$STARPHLEET_ROOT/headquarters/trees/$commit" \
		--arg c "$commit" --arg u "$STARPHLEET_HEADQUARTERS" \
		'{order: "api/v1", dir: "\($d)/api/v1", headquarters: {dir: $d, commit: $c, url: $u}}')" ]
	[ -f "$(jq -r 'select(.order == "") | .dir' <<<"$output")/orders" ]
}

@test "directories that hold something else, and hidden ones, are no orders; below the top they may be" {
	order authorized_keys beta_groups ldap_servers overlay/etc shipscripts ssl .hidden echo/.git2 svc/ssl echo
	push
	[ "$(hq-sync | names)" = "echo svc/ssl" ]
}

@test "a name that is none gives one error that shows it, and no other order is touched" {
	order good "a b" $'new\nline' grüße -- -dash '$(id)' "a'b" 'a;b' "ok/b d" "$(printf 'x%.0s' {1..161})" $'bad\xff'
	push
	run --separate-stderr hq-sync
	[ "$status" -eq 1 ] && [ -z "$stderr" ]
	[ "$(names <<<"$output")" = good ]
	[ "$(jq -s length <<<"$output")" -eq 12 ]
	[ "$(jq -r 'select(.error) | .error.status' <<<"$output" | sort -u)" -eq 78 ]
	for shown in 'a b' 'new\x0aline' 'grüße' '-dash' '$(id)' "a'b" 'ok/b d' 'bad\xff'; do
		faults <<<"$output" | grep -qF "bad name of an order: $shown: "
	done
}

@test "reserved names, and names that differ only in case" {
	order starphleet git/x gitlab Echo echo ECHO api/V1 api/v1
	push
	run hq-sync
	[ "$status" -eq 1 ]
	[ "$(names <<<"$output")" = "api/v1 echo gitlab" ]
	[ "$(faults <<<"$output" | sort)" = "$(sort <<-TEXT
		bad name of an order: git/x: it is reserved
		bad name of an order: starphleet: it is reserved
		differs from another order only in case: ECHO: Echo
		differs from another order only in case: Echo: echo
		differs from another order only in case: api/V1: api/v1
	TEXT
	)" ]
}

@test "a symbolic link in the way of an order is named and never followed" {
	order echo target
	ln -s echo "$hq/twin"
	ln -s / "$hq/out"
	mkdir "$hq/shadow" "$hq/rel"
	ln -s /etc/shadow "$hq/shadow/orders"
	ln -s ../echo/orders "$hq/rel/orders"
	ln -s nowhere "$hq/dangling"
	ln -s echo/orders "$hq/file"
	push
	run --separate-stderr hq-sync
	[ "$status" -eq 1 ]
	[ "$(names <<<"$output")" = "echo target" ]
	[ "$(faults <<<"$output" | sort)" = "$(sort <<-TEXT
		a symbolic link instead of a directory: out
		a symbolic link instead of a directory: twin
		a symbolic link instead of a file: rel/orders
		a symbolic link instead of a file: shadow/orders
	TEXT
	)" ]
	[[ "$output" != *root:* ]]
}

@test "what has state and is no longer ordered is gone; what is ordered badly is not" {
	order echo api/v1
	push
	serves echo api/v1 old/one ''
	mkdir -p "$STARPHLEET_ROOT/current_orders/nothing" "$STARPHLEET_ROOT/current_orders/wanted"
	echo '{}' >"$STARPHLEET_ROOT/current_orders/wanted/wanted.json"
	[ "$(hq-sync | jq -r 'select(.gone) | .order' | sort | paste -sd,)" = ",old/one,wanted" ]
	rm "$hq/echo/orders"
	ln -s ../api/v1/orders "$hq/echo/orders"
	push
	run hq-sync
	[ "$status" -eq 1 ]
	[ "$(jq -r 'select(.gone) | .order' <<<"$output" | sort | paste -sd,)" = ",old/one,wanted" ]
}

@test "a headquarters without orders, without a commit or without a host takes nothing away" {
	serves echo
	run --separate-stderr hq-sync
	[ "$status" -eq 75 ] && [ -z "$output" ]
	[[ "$stderr" == "hq-sync: nothing to check out: $STARPHLEET_HEADQUARTERS: the repository is empty"* ]]
	mkdir "$hq/ssl"
	echo x >"$hq/ssl/orders"
	push
	run --separate-stderr hq-sync
	[ "$status" -eq 78 ] && [ -z "$output" ]
	[ "$stderr" = "hq-sync: headquarters has no orders: $STARPHLEET_HEADQUARTERS" ]
	run --separate-stderr hq-sync --headquarters http://127.0.0.1:1/hq.git
	[ "$status" -eq 75 ] && [ -z "$output" ]
	[[ "$stderr" == "hq-sync: cannot fetch: http://127.0.0.1:1/hq.git: "*"Couldn't connect to server" ]]
}

@test "when its host is away the last good tree gives the records, nothing is gone, and the status is 75" {
	order echo api
	push
	hq-sync >"$BATS_TEST_TMPDIR/before"
	serves old
	mv "$GIT_SERVERS/git/hq.git" "$GIT_SERVERS/git/away.git"
	run --separate-stderr hq-sync
	[ "$status" -eq 75 ]
	[ "$output" = "$(cat "$BATS_TEST_TMPDIR/before")" ]
	[[ "$stderr" == "hq-sync: cannot fetch: $STARPHLEET_HEADQUARTERS: "* ]]
	# Not for another URL or REF: their orders are unknown.
	run --separate-stderr hq-sync --headquarters "$STARPHLEET_HEADQUARTERS#other"
	[ "$status" -eq 75 ] && [ -z "$output" ]
	mv "$GIT_SERVERS/git/away.git" "$GIT_SERVERS/git/hq.git"
	run hq-sync
	[ "$status" -eq 0 ]
	[ "$(jq -r 'select(.gone) | .order' <<<"$output")" = old ]
}

@test "a headquarters that turns empty gives no records, and its last good ones when it is back" {
	order echo
	push
	hq-sync >"$BATS_TEST_TMPDIR/before"
	rm -r "$hq/echo"
	push
	serves echo
	run --separate-stderr hq-sync
	[ "$status" -eq 78 ] && [ -z "$output" ]
	git -C "$hq" revert --no-edit HEAD >/dev/null
	push
	[ "$(hq-sync | names)" = echo ]
}

@test "another headquarters URL: cloned beside and swapped, and a REF of it" {
	order echo
	push
	[ "$(hq-sync | names)" = echo ]
	git clone -q --bare "$GIT_SERVERS/git/hq.git" "$GIT_SERVERS/git/second.git"
	order extra
	push
	[ "$(hq-sync --headquarters "file://$GIT_SERVERS/git/second.git" | names)" = echo ]
	[ "$(hq-sync | names)" = "echo extra" ]
	git -C "$hq" push -q origin HEAD:refs/heads/stage
	order third
	push
	[ "$(hq-sync --headquarters "$STARPHLEET_HEADQUARTERS#stage" | names)" = "echo extra" ]
	run find "$STARPHLEET_ROOT/headquarters" -name '.git.*' -o -name '.tmp.*'
	[ -z "$output" ]
}

@test "no headquarters set, or a bad one, is a configuration error" {
	unset STARPHLEET_HEADQUARTERS
	run --separate-stderr hq-sync
	[ "$status" -eq 78 ] && [ -z "$output" ]
	[ "$stderr" = "hq-sync: no headquarters is set: STARPHLEET_HEADQUARTERS: set it, or use --headquarters URL[#REF]" ]
	run --separate-stderr hq-sync --headquarters /etc
	[ "$status" -eq 78 ] && [ -z "$output" ]
}

@test "a closed or full output is a failure" {
	order echo
	push
	run --separate-stderr -75 sh -c 'hq-sync >/dev/full'
	[ "$stderr" = "hq-sync: cannot write: standard output: No space left on device" ]
}

@test "1000 orders, read again: quick" {
	for i in $(seq 1000); do order "o$i"; done
	push
	hq-sync >"$BATS_TEST_TMPDIR/first"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/first")" -eq 1000 ]
	begun=$(date +%s%N)
	hq-sync | cmp - "$BATS_TEST_TMPDIR/first"
	[ $((($(date +%s%N) - begun) / 1000000)) -lt 1000 ]
}

# --- URLs

refused() { # refused URL REASON
	run --separate-stderr hq-sync --one "$1" "$BATS_TEST_TMPDIR/out"
	[ "$status" -eq 78 ] && [ -z "$output" ]
	[[ "$stderr" == "hq-sync: bad URL: "*"$2"* ]] || { echo "$1: $stderr" && false; }
	[ ! -e "$BATS_TEST_TMPDIR/out" ] && [ ! -e "$STARPHLEET_ROOT/repos" ]
}

@test "URLs that Git would follow and we do not" {
	helper="remote helpers are not allowed"
	none="neither https://, http://, ssh:// nor user@host:path"
	scheme="this scheme is not allowed"
	refused "ext::sh -c id" "it has a blank"
	refused "ext::id" "$helper"
	refused "fd::17/foo" "$helper"
	refused "/etc" "$none"
	refused "../x" "$none"
	refused "host:path" "$none"
	refused "git://host/x" "$scheme"
	refused "ftp://host/x" "$scheme"
	refused "HTTPS://host/x" "$scheme"
	refused "file:/etc" "write file:///absolute/path"
	refused "file://host/x" "write file:///absolute/path"
	refused "file:///a/../b" 'a part `..`'
	refused "" "it is empty"
}

@test "file:// is the ship's own decision" {
	unset STARPHLEET_ALLOW_FILE_URLS
	refused "file:///etc" "file:// needs STARPHLEET_ALLOW_FILE_URLS=1 in the ship's own settings"
}

@test "what could be an option, a shell word or another host" {
	refused "--upload-pack=id" "begins with a dash"
	refused "ssh://-oProxyCommand=id/x" "a host's name"
	refused "ssh://a@-oProxyCommand=id/x" "a host's name"
	refused "ssh://-l@host/x" "begins with a dash"
	refused "-l@host:x" "begins with a dash"
	refused "git@host:-x" "begins with a dash"
	refused "ssh://host/-x" "begins with a dash"
	refused 'ssh://a$(id)@host/x' "a user's name for ssh"
	refused "ssh://user:pw@host/x" "no password"
	refused 'git@ho`id`st:x' "a host's name"
	refused "https://host/x y" "a blank"
	refused $'https://host/x\ny' "a blank"
	refused "https://host/grüße" "a letter outside ASCII"
	refused "https://host/%0ax" "others as %XX"
	refused "https://host/%zz" "others as %XX"
	refused "https://host/%2e%2e/x" 'a part `..`'
	refused "https://host/a?b" "a path has"
	refused "https://host" "the path is missing"
	refused "https://host/" "the path is missing"
	refused "https:///x" "a host's name is missing"
	refused "https://host:0/x" "a port is a number"
	refused "https://host:99999/x" "a port is a number"
	refused "https://host:1x/x" "a port is a number"
	refused "https://[::1/x" "not an IPv6 address"
	refused "https://user@@host/x" "user and password"
	refused "https://$(printf 'a%.0s' {1..3000})/x" "longer than 2048 bytes"
}

@test "REFs that are none" {
	for ref in '' -x /x x/ x. a..b 'a b' 'a^b' 'a:b' 'a?b' 'a*' 'a[b' 'a\b' 'a~1' '@' '@{1}' a.lock a.lock/b .a a/.b a//b $'a\tb' 'a#b'; do
		refused "https://host/x#$ref" ""
	done
}

@test "no refusal shows a password" {
	for bad in https://user:secret@-host/x https://user:secret@host "https://user:sec@secret@host/x" "https://us er:secret@host/x" \
		ssh://user:secret@host/x "user:secret@host:x" "ftp://user:secret@host/x" "https://secret@host:x/y" "https://user:a/secret@host/x"; do
		run hq-sync --one "$bad" "$BATS_TEST_TMPDIR/out"
		[ "$status" -eq 78 ]
		[[ "$output" != *secret* ]]
	done
}
