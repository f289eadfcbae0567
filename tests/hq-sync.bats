#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own, and exports for itself
# hq-sync against real servers: remotes good, gone, silent and hostile, and what is left on disk.
bats_require_minimum_version 1.5.0
load lib/git-servers

setup_file() { servers_up "$BATS_FILE_TMPDIR/servers"; }
teardown_file() { servers_down; }

setup() {
	export STARPHLEET_ROOT=$BATS_TEST_TMPDIR/root STARPHLEET_RUN=$BATS_TEST_TMPDIR/run
	export STARPHLEET_ETC=$BATS_TEST_TMPDIR/etc STARPHLEET_INI=/dev/null STARPHLEET_GIT_TIMEOUT=30
	export STARPHLEET_SHARE=${STARPHLEET_SHARE:-$BATS_TEST_DIRNAME/../share}
	unset STARPHLEET_ALLOW_FILE_URLS STARPHLEET_HEADQUARTERS STARPHLEET_REPOSITORY_LIMIT
	ssh_trust "$STARPHLEET_ROOT/private_keys"
	name=t$BATS_TEST_NUMBER # a repository of its own for each test
	url=$GIT_HTTP/git/$name.git
}

# Every test ends with whole trees only, nothing half made, and no git left running.
teardown() {
	[ -z "$(find "$STARPHLEET_ROOT" \( -name '.tmp.*' -o -name '.git.*' -o -name .git -o -name 'tmp_*' \) -print -quit)" ]
}

# service AUTODEPLOY [OPTION...]: what hq-sync --services makes of one record.
service() {
	local autodeploy=$1
	shift
	jq -cn --arg a "$autodeploy" '{order: "echo", autodeploy: $a, orders_id: "1234567"}' | hq-sync --services "$@"
}

ended() { ! kill -0 "$1"; }
none_runs() { ! pgrep -f "$1"; }
message() { jq -r .error.message; }
dir_of() { jq -r .service.dir; }
home_of() { printf '%s/repos/%s' "$STARPHLEET_ROOT" "$(printf %s "$1" | sha256sum | cut -d' ' -f1)"; }

state() { # state FILE COMMIT [MORE]: current_orders/echo/FILE about that commit
	mkdir -p "$STARPHLEET_ROOT/current_orders/echo"
	jq -n --arg c "$2" '{order: "echo", orders_id: "1234567", commit: $c, service: {commit: $c}} + ('"${3:-{\}}"')' \
		>"$STARPHLEET_ROOT/current_orders/echo/$1"
}

# --- what a REF may be

@test "no REF is the remote's HEAD, and its branch is named" {
	repository "$name"
	run --separate-stderr service "$url"
	[ "$status" -eq 0 ] && [ -z "$stderr" ]
	[ "$(jq -r '.service | [.url, .ref, .commit] | join(" ")' <<<"$output")" = "$url main $(commit_of "$name")" ]
	[ "$(cat "$(dir_of <<<"$output")/index.html")" = "$name 1" ]
	[ "$(stat -c '%a %u' "$(dir_of <<<"$output")")" = "755 $(id -u)" ]
}

@test "a branch, a tag, an annotated tag, a commit, its first digits and a full ref name" {
	repository "$name"
	first=$(commit_of "$name")
	git -C "$GIT_SERVERS/work/$name" tag light
	git -C "$GIT_SERVERS/work/$name" tag -a -m heavy heavy
	git -C "$GIT_SERVERS/work/$name" push -q origin --tags
	change "$name" index.html two
	git -C "$GIT_SERVERS/work/$name" checkout -q -b feature/x
	change "$name" index.html three
	third=$(commit_of "$name")
	for ref in light heavy "$first" "${first:0:9}" refs/tags/heavy; do
		[ "$(service "$url#$ref" | jq -r .service.commit)" = "$first" ]
	done
	for ref in feature/x refs/heads/feature/x; do
		[ "$(service "$url#$ref" | jq -r .service.commit)" = "$third" ]
	done
	[ "$(service "$url" | jq -r .service.ref)" = main ]
}

@test "a branch goes before a tag of its name" {
	repository "$name"
	git -C "$GIT_SERVERS/work/$name" tag both
	change "$name" index.html two
	git -C "$GIT_SERVERS/work/$name" push -q origin HEAD:refs/heads/both refs/tags/both
	[ "$(service "$url#both" | jq -r .service.commit)" = "$(commit_of "$name")" ]
}

@test "a REF that is not there is an error that names it, and state stale" {
	repository "$name"
	run service "$url#gone"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "no such branch, tag or commit: $url: gone" ]
	[ "$(jq -r '.state, .error.status, .service.commit' <<<"$output" | paste -sd' ')" = "stale 78 null" ]
	run service "$url#deadbee"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "no such commit, or not only one: $url: deadbee" ]
}

@test "an empty repository is an error, and well after the first push" {
	git init -q --bare "$GIT_SERVERS/git/$name.git"
	run service "$url"
	[ "$status" -eq 1 ]
	[[ "$(message <<<"$output")" == "nothing to check out: $url: the repository is empty"* ]]
	rm -r "$GIT_SERVERS/git/$name.git"
	repository "$name"
	service "$url"
}

@test "a tag on what is no commit is an error" {
	repository "$name"
	git -C "$GIT_SERVERS/git/$name.git" tag blob "$(commit_of "$name"):index.html" 2>/dev/null ||
		git -C "$GIT_SERVERS/git/$name.git" tag blob "$(git -C "$GIT_SERVERS/work/$name" rev-parse HEAD:index.html)"
	run service "$url#blob"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "not a commit: $url: blob" ]
}

# --- histories that change

@test "a push, a force push and a deleted branch: the new head, or the last good tree and a named error" {
	repository "$name"
	dir1=$(service "$url#main" | dir_of)
	change "$name" index.html two
	dir2=$(service "$url#main" | dir_of)
	[ "$(cat "$dir1/index.html" "$dir2/index.html")" = "$(printf '%s 1\ntwo' "$name")" ]
	git -C "$GIT_SERVERS/work/$name" checkout -q --orphan other
	echo three >"$GIT_SERVERS/work/$name/index.html"
	git -C "$GIT_SERVERS/work/$name" commit -q -a -m three
	git -C "$GIT_SERVERS/work/$name" push -q --force origin other:main
	dir3=$(service "$url#main" | dir_of)
	[ "$(cat "$dir3/index.html")" = three ]
	git -C "$GIT_SERVERS/git/$name.git" update-ref -d refs/heads/main
	run service "$url#main"
	[ "$status" -eq 1 ]
	[[ "$(message <<<"$output")" == "no such branch"* ]]
	[ "$(cat "$dir3/index.html")" = three ]
	# A branch `main/next` where `main` was: names that exclude each other in one repository.
	git -C "$GIT_SERVERS/work/$name" push -q origin other:main/next
	[ "$(service "$url#main/next" | jq -r .service.commit)" = "$(commit_of "$name")" ]
}

@test "a renamed default branch is followed" {
	repository "$name"
	service "$url" >"$BATS_TEST_TMPDIR/before"
	change "$name" index.html two
	git -C "$GIT_SERVERS/git/$name.git" branch -m main trunk
	[ "$(service "$url" | jq -r '[.service.ref, .service.commit] | join(" ")')" = "trunk $(commit_of "$name")" ]
}

@test "another repository in the place of the old one" {
	repository "$name"
	service "$url" >"$BATS_TEST_TMPDIR/before"
	rm -rf "$GIT_SERVERS/git/$name.git" "$GIT_SERVERS/work/$name"
	repository "$name"
	change "$name" index.html another
	[ "$(cat "$(service "$url" | dir_of)/index.html")" = another ]
}

@test "a revert serves the tree that is there: nothing is fetched" {
	repository "$name"
	service "$url" >"$BATS_TEST_TMPDIR/first"
	home=$(home_of "$url")
	before=$(find "$home/git/objects" | sort | sha256sum)
	service "$url" | cmp - "$BATS_TEST_TMPDIR/first"
	[ "$(find "$home/git/objects" | sort | sha256sum)" = "$before" ]
}

# --- ssh

@test "ssh with the key of private_keys" {
	repository "$name"
	[ "$(service "$GIT_SSH_URL/$name.git" | jq -r .service.commit)" = "$(commit_of "$name")" ]
}

@test "ssh: no key, no known host and a changed host key are told apart" {
	repository "$name"
	keys=$STARPHLEET_ROOT/private_keys
	mv "$keys/known_hosts" "$keys/kept"
	run service "$GIT_SSH_URL/$name.git"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "cannot fetch: $GIT_SSH_URL/$name.git: the host's key is not in $keys/known_hosts" ]
	[ "$(STARPHLEET_SSH_ACCEPT_NEW=1 service "$GIT_SSH_URL/$name.git" | jq -r .service.commit)" = "$(commit_of "$name")" ]
	printf '[127.0.0.1]:%s %s\n' "$GIT_SSH_PORT" "$(cat "$GIT_SERVERS/user_key.pub")" >"$keys/known_hosts"
	run service "$GIT_SSH_URL/$name.git#main"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "cannot fetch: $GIT_SSH_URL/$name.git: the host's key has changed; see $keys/known_hosts" ]
	mv "$keys/kept" "$keys/known_hosts"
	rm "$keys/id_ship"
	run service "$GIT_SSH_URL/$name.git"
	[ "$status" -eq 1 ]
	[[ "$(message <<<"$output")" == *"Permission denied (publickey)." ]]
	[ "$(jq -r .error.status <<<"$output")" -eq 75 ]
}

# --- remotes that are none

@test "gone, garbage, no TLS, no login, moved to another scheme: each named, state stale, exit 75" {
	garbage_server
	repository "$name"
	host=${GIT_HTTP#http://}
	for case in "http://127.0.0.1:1/x|Couldn't connect to server" "http://no.invalid/x|Could not resolve host: no.invalid" \
		"$GIT_HTTP/git/none.git|not found" "http://127.0.0.1:$GARBAGE_PORT/x|protocol error: bad line length character: zzzz" \
		"https://$host/git/$name.git|gnutls_handshake() failed: An unexpected TLS packet was received." \
		"$GIT_HTTP/login/$name.git|it does not exist or asks for a login" \
		"$GIT_HTTP/away/$name.git|it redirects to another scheme, which is not followed" \
		"ssh://x@127.0.0.1:$GARBAGE_PORT/x|kex_exchange_identification: banner line contains invalid characters"; do
		run --separate-stderr service "${case%%|*}"
		[ "$status" -eq 1 ] && [ -z "$stderr" ]
		[[ "$(message <<<"$output")" == "cannot fetch: ${case%%|*}: "*"${case#*|}" ]]
		[ "$(jq -r '[.state, .error.status] | join(" ")' <<<"$output")" = "stale 75" ]
	done
	[ "$(service "$GIT_HTTP/moved/$name.git" | jq -r .service.commit)" = "$(commit_of "$name")" ]
}

@test "a remote that says nothing costs its own worker only, and ends with its git" {
	silent_server
	repository "$name"
	export STARPHLEET_GIT_TIMEOUT=3
	{
		jq -cn --arg u "http://127.0.0.1:$SILENT_PORT/x" '{order: "hung", autodeploy: $u}'
		jq -cn --arg u "ssh://x@127.0.0.1:$SILENT_PORT/x" '{order: "hung2", autodeploy: $u}'
		jq -cn --arg u "$url" '{order: "echo", autodeploy: $u}'
	} >"$BATS_TEST_TMPDIR/in"
	begun=$SECONDS
	run --separate-stderr hq-sync --services <"$BATS_TEST_TMPDIR/in"
	[ "$status" -eq 1 ]
	[ $((SECONDS - begun)) -le 5 ]
	[ "$(jq -r .order <<<"${lines[0]}")" = echo ]
	for i in 1 2; do
		[[ "$(message <<<"${lines[$i]}")" == *": no answer within 3 s" ]]
	done
	run pgrep -f "127.0.0.1:$SILENT_PORT"
	[ "$status" -eq 1 ]
}

@test "kill -9 of hq-sync in the middle leaves no git behind" {
	silent_server
	service "http://127.0.0.1:$SILENT_PORT/killed" >/dev/null &
	wait_for pgrep -f "remote-http.*127.0.0.1:$SILENT_PORT/killed"
	kill -9 "$(pgrep -P $! -x hq-sync || echo $!)"
	wait_for none_runs "remote-http.*127.0.0.1:$SILENT_PORT/killed"
	wait $! || :
}

# --- credentials

@test "a login in the URL works, and stands in no argument, record or message" {
	repository "$name"
	head -c 300000 /dev/urandom >"$GIT_SERVERS/work/$name/big"
	change "$name" index.html big
	host=${GIT_HTTP#http://}
	run --separate-stderr strace -f -qq -s 4096 -e trace=execve -o "$BATS_TEST_TMPDIR/trace" \
		hq-sync -v --one "http://tester:secret@$host/login/$name.git" "$BATS_TEST_TMPDIR/out"
	[ "$status" -eq 0 ] && [ "$output" = "$(commit_of "$name")" ]
	[[ "$stderr" != *secret* ]]
	[ "$(grep -c 'git", "' "$BATS_TEST_TMPDIR/trace")" -gt 3 ]
	# hq-sync's own argument apart, which the test wrote.
	[ "$(grep -v 'hq-sync"' "$BATS_TEST_TMPDIR/trace" | grep -c 'tester\|secret')" -eq 0 ]
	run service "http://tester:wrong@$host/login/$name.git"
	[ "$status" -eq 1 ]
	[[ "$(jq -c 'del(.autodeploy)' <<<"$output")" != *wrong* ]]
	[ "$(jq -r .service.url <<<"$output")" = "http://***@$host/login/$name.git" ]
	# A redirect would carry the header along.
	run service "http://tester:secret@$host/moved/$name.git"
	[ "$status" -eq 1 ]
}

# --- submodules

@test "submodules are checked out, relative ones too, and those in them" {
	for part in inner middle; do
		repository "$name-$part"
	done
	repository "$name"
	git -C "$GIT_SERVERS/work/$name-middle" submodule --quiet add "$GIT_SERVERS/git/$name-inner.git" in
	git -C "$GIT_SERVERS/work/$name-middle" config -f .gitmodules submodule.in.url "../$name-inner.git"
	change "$name-middle" index.html middle
	git -C "$GIT_SERVERS/work/$name" submodule --quiet add "$GIT_SERVERS/git/$name-middle.git" lib/middle
	git -C "$GIT_SERVERS/work/$name" config -f .gitmodules submodule.lib/middle.url "$GIT_HTTP/git/$name-middle.git"
	change "$name" index.html outer
	dir=$(service "$url" | dir_of)
	[ "$(cat "$dir/index.html" "$dir/lib/middle/index.html" "$dir/lib/middle/in/index.html")" = \
		"$(printf 'outer\nmiddle\n%s-inner 1' "$name")" ]
}

# submodule URL: a repository whose submodule `sub` is said to be there.
submodule() {
	repository "$name-sub"
	repository "$name"
	git -C "$GIT_SERVERS/work/$name" submodule --quiet add "$GIT_SERVERS/git/$name-sub.git" sub
	git -C "$GIT_SERVERS/work/$name" config -f .gitmodules submodule.sub.url "$1"
	change "$name" index.html with-sub
}

@test "a submodule by file:// or a path is refused, even where file:// is allowed" {
	export STARPHLEET_ALLOW_FILE_URLS=1
	submodule "file://$GIT_SERVERS/git/$name-sub.git"
	run service "file://$GIT_SERVERS/git/$name.git"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "bad URL: file://$GIT_SERVERS/git/$name-sub.git: file:// is not allowed for submodules" ]
	for bad in /etc "ext::sh -c id" -u./x ../../../../../x "https://host/../x"; do
		git -C "$GIT_SERVERS/work/$name" config -f .gitmodules submodule.sub.url "$bad"
		change "$name" index.html "$bad"
		run service "$url"
		[ "$status" -eq 1 ]
		[ -z "$(find "$(home_of "$url")/trees" -mindepth 1)" ]
	done
}

@test "a submodule that names its own parent ends at four levels" {
	repository "$name"
	git -C "$GIT_SERVERS/work/$name" update-index --add --cacheinfo "160000,$(commit_of "$name"),self"
	for level in 2 3 4 5 6; do
		printf '[submodule "self"]\n\tpath = self\n\turl = %s\n' "$url" >"$GIT_SERVERS/work/$name/.gitmodules"
		git -C "$GIT_SERVERS/work/$name" add .gitmodules
		git -C "$GIT_SERVERS/work/$name" update-index --add --cacheinfo "160000,$(commit_of "$name"),self"
		git -C "$GIT_SERVERS/work/$name" commit -q -m "$level"
	done
	git -C "$GIT_SERVERS/work/$name" push -q origin HEAD
	run service "$url"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "cannot check out: $url: submodules in submodules, more than 4 deep" ]
}

@test "a submodule without a URL is an error that names it" {
	repository "$name"
	git -C "$GIT_SERVERS/work/$name" update-index --add --cacheinfo "160000,$(commit_of "$name"),stray"
	git -C "$GIT_SERVERS/work/$name" commit -q -m stray
	git -C "$GIT_SERVERS/work/$name" push -q origin HEAD
	run service "$url"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "submodule without a URL in .gitmodules: $url: stray" ]
}

# --- hostile repositories

@test "no hook and no filter of a repository runs, and LFS pointers stay pointers" {
	repository "$name"
	printf '* filter=evil\n*.bin filter=lfs diff=lfs\n' >"$GIT_SERVERS/work/$name/.gitattributes"
	mkdir -p "$GIT_SERVERS/work/$name/.githooks"
	for hook in post-checkout post-index-change reference-transaction; do
		printf '#!/bin/sh\ntouch %s/ran\n' "$BATS_TEST_TMPDIR" >"$GIT_SERVERS/work/$name/.githooks/$hook"
		chmod 755 "$GIT_SERVERS/work/$name/.githooks/$hook"
	done
	change "$name" x.bin pointer
	mkdir -p "$BATS_TEST_TMPDIR/home"
	printf '[filter "evil"]\n\tsmudge = touch %s/ran\n[core]\n\thooksPath = %s\n\tfsmonitor = touch %s/ran\n' \
		"$BATS_TEST_TMPDIR" "$GIT_SERVERS/work/$name/.githooks" "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/home/.gitconfig"
	dir=$(HOME=$BATS_TEST_TMPDIR/home GIT_CONFIG_GLOBAL=$BATS_TEST_TMPDIR/home/.gitconfig service "$url" | dir_of)
	[ "$(cat "$dir/x.bin")" = pointer ]
	[ ! -e "$BATS_TEST_TMPDIR/ran" ]
}

@test "too large: named, nothing checked out, and not loaded again until it changes" {
	repository "$name"
	mkdir -p "$GIT_SERVERS/work/$name/d"
	head -c 700000 /dev/zero >"$GIT_SERVERS/work/$name/d/zero"
	cp "$GIT_SERVERS/work/$name/d/zero" "$GIT_SERVERS/work/$name/d/again" # small as a pack, large as a tree
	change "$name" index.html big
	export STARPHLEET_REPOSITORY_LIMIT=1
	for _ in first second; do
		run service "$url"
		[ "$status" -eq 1 ]
		[ "$(message <<<"$output")" = "cannot check out: $url: more than 100000 files or 1 MiB (STARPHLEET_REPOSITORY_LIMIT)" ]
		[ "$(jq .error.status <<<"$output")" -eq 78 ]
	done
	head -c 3000000 /dev/urandom >"$GIT_SERVERS/work/$name/d/random"
	change "$name" index.html bigger
	run service "$url"
	[ "$status" -eq 1 ]
	[ "$(message <<<"$output")" = "cannot fetch: $url: larger than 1 MiB, which STARPHLEET_REPOSITORY_LIMIT allows" ]
	before=$(grep -c 'POST' "$GIT_SERVERS/access.log")
	run service "$url"
	[ "$(message <<<"$output")" = "cannot fetch: $url: larger than 1 MiB, which STARPHLEET_REPOSITORY_LIMIT allows" ]
	# Asked, but not loaded: protocol 2 asks by one POST.
	[ "$(($(grep -c POST "$GIT_SERVERS/access.log") - before))" -eq 1 ]
	STARPHLEET_REPOSITORY_LIMIT=10 service "$url"
}

@test "a tree of very many files is refused before a file of it is written" {
	repository "$name"
	work=$GIT_SERVERS/work/$name
	blob=$(git -C "$work" rev-parse HEAD:index.html)
	tree=$(for i in $(seq 60); do printf '100644 blob %s\tf%s\n' "$blob" "$i"; done | git -C "$work" mktree)
	for level in 1 2; do # 60 * 60 * 60 files of three trees
		tree=$(for i in $(seq 60); do printf '040000 tree %s\td%s\n' "$tree" "$i"; done | git -C "$work" mktree)
	done
	git -C "$work" push -q origin "$(git -C "$work" commit-tree -m bomb "$tree"):refs/heads/bomb"
	run service "$url#bomb"
	[ "$status" -eq 1 ]
	[[ "$(message <<<"$output")" == "cannot check out: $url: more than 100000 files"* ]]
}

@test "a path that is too long is refused by that reason, and loaded once" {
	repository "$name"
	work=$GIT_SERVERS/work/$name
	blob=$(git -C "$work" rev-parse HEAD:index.html)
	tree=$(printf '100644 blob %s\t%s\n' "$blob" "$(printf 'n%.0s' {1..4096})" | git -C "$work" mktree)
	git -C "$work" push -q origin "$(git -C "$work" commit-tree -m long "$tree"):refs/heads/long"
	tree=$(printf '100644 blob %s\tfile\n' "$blob" | git -C "$work" mktree)
	for _ in {1..40}; do
		tree=$(printf '040000 tree %s\t%s\n' "$tree" "$(printf 'd%.0s' {1..100})" | git -C "$work" mktree)
	done
	git -C "$work" push -q origin "$(git -C "$work" commit-tree -m deep "$tree"):refs/heads/deep"
	for ref in long deep deep; do
		run service "$url#$ref"
		[ "$status" -eq 1 ]
		echo "$output"
		[ "$(message <<<"$output")" = "cannot check out: $url: a path is longer than 2048 bytes, or a name than 255" ]
	done
	[ ! -e "$(home_of "$url")/cloned-again" ]
}

@test "a tree with a path into .git or above itself is refused" {
	repository "$name"
	work=$GIT_SERVERS/work/$name
	blob=$(git -C "$work" rev-parse HEAD:index.html)
	for evil in .git .GIT ..; do
		tree=$(printf '040000 tree %s\t%s\n' "$(printf '100644 blob %s\tconfig\n' "$blob" | git -C "$work" mktree)" "$evil" |
			git -C "$work" mktree --missing)
		git -C "$work" push -q --force origin "$(git -C "$work" commit-tree -m evil "$tree"):refs/heads/evil"
		run service "$url#evil"
		[ "$status" -eq 1 ]
		[ -z "$(find "$(home_of "$url")/trees" -mindepth 1 2>/dev/null)" ]
	done
}

# --- a local clone that is hurt

@test "a corrupt clone is made anew beside and swapped" {
	repository "$name"
	first=$(service "$url" | dir_of)
	home=$(home_of "$url")
	change "$name" index.html two
	rm -rf "$home/git/objects"
	[ "$(cat "$(service "$url" | dir_of)/index.html")" = two ]
	[ "$(cat "$first/index.html")" = "$name 1" ]
	# At most once a minute: the second hurt is an error, and the good trees stay.
	change "$name" index.html three
	rm -rf "$home/git/objects"
	run service "$url"
	[ "$status" -eq 1 ]
	[ "$(jq -r .state <<<"$output")" = stale ]
	touch -d '2 minutes ago' "$home/cloned-again"
	[ "$(cat "$(service "$url" | dir_of)/index.html")" = three ]
}

@test "locks and packs that a killed git left do not stand in the way" {
	repository "$name"
	service "$url" >"$BATS_TEST_TMPDIR/before"
	home=$(home_of "$url")
	touch "$home/git/shallow.lock" "$home/git/starphleet-index.lock" "$home/git/objects/pack/tmp_pack_1"
	mkdir -p "$home/trees/.tmp.dead/tree" "$home/.git.dead"
	change "$name" index.html two
	[ "$(cat "$(service "$url" | dir_of)/index.html")" = two ]
	[ ! -e "$home/cloned-again" ]
}

@test "kill -9 at any moment of a clone: the next run has a whole tree" {
	repository "$name"
	mkdir "$GIT_SERVERS/work/$name/many"
	for i in $(seq 400); do echo "$i" >"$GIT_SERVERS/work/$name/many/$i"; done
	change "$name" index.html many
	git -C "$GIT_SERVERS/work/$name" archive HEAD | tar -t | sort >"$BATS_TEST_TMPDIR/listed"
	for ms in 5 15 25 35 45 55 65 80 100 130; do
		timeout -s KILL "0.$(printf %03d "$ms")" hq-sync --one "$url" "$BATS_TEST_TMPDIR/out$ms" >/dev/null || :
		for tree in "$(home_of "$url")"/trees/*; do
			[ ! -d "$tree" ] || [ "$(find "$tree" -type f | wc -l)" -eq 401 ]
		done
		[ "$ms" -lt 80 ] || rm -rf "$STARPHLEET_ROOT/repos"
	done
	dir=$(service "$url" | dir_of)
	[ "$(find "$dir" -type f | wc -l)" -eq 401 ]
}

@test "a full disk is an error record, and well once there is room" {
	repository "$name"
	head -c 3000000 /dev/urandom >"$GIT_SERVERS/work/$name/big"
	change "$name" index.html big
	mkdir "$BATS_TEST_TMPDIR/small"
	mount -t tmpfs -o size=2m none "$BATS_TEST_TMPDIR/small"
	export STARPHLEET_ROOT=$BATS_TEST_TMPDIR/small
	run service "$url"
	mount -o remount,size=40m "$BATS_TEST_TMPDIR/small"
	second=$(service "$url" | jq -r .service.commit)
	left=$(find "$STARPHLEET_ROOT" -name '.tmp.*' -o -name '.git.*')
	umount "$BATS_TEST_TMPDIR/small"
	[ "$status" -eq 1 ] && [ -z "$left" ]
	[[ "$(message <<<"$output")" == *"No space left on device"* ]]
	[ "$second" = "$(commit_of "$name")" ]
}

# --- what is unsettled

@test "--unsettled drops what serves and what failed for good, and passes the rest" {
	repository "$name"
	commit=$(commit_of "$name")
	[ "$(service "$url" --unsettled | jq -r .service.commit)" = "$commit" ] # never deployed
	state wanted.json "$commit"
	[ -n "$(service "$url" --unsettled)" ] # a crash before the switch
	state serving.json "$commit"
	[ -z "$(service "$url" --unsettled)" ]
	[ -n "$(service "$url")" ]
	state wanted.json "$commit" '{error: {status: 75}}'
	[ -n "$(service "$url" --unsettled)" ]
	state wanted.json "$commit" '{error: {status: 1}}'
	[ -z "$(service "$url" --unsettled)" ]
	change "$name" index.html two
	[ "$(service "$url" --unsettled | jq -r .service.commit)" = "$(commit_of "$name")" ]
	state wanted.json "$(commit_of "$name")" '{orders_id: "7654321"}'
	[ -n "$(service "$url" --unsettled)" ]
}

@test "--unsettled passes over a repository that somebody is at, without a word" {
	repository "$name"
	mkdir -p "$(home_of "$url")"
	exec 9>"$(home_of "$url")/lock"
	flock 9
	run --separate-stderr service "$url" --unsettled
	[ "$status" -eq 0 ] && [ -z "$output$stderr" ]
	exec 9>&-
	[ -n "$(service "$url" --unsettled)" ]
}

@test "--unsettled: a hung remote keeps one worker for each order, however many pulses" {
	silent_server
	export STARPHLEET_GIT_TIMEOUT=5
	service "http://127.0.0.1:$SILENT_PORT/$name" --unsettled >"$BATS_TEST_TMPDIR/out" &
	wait_for pgrep -f "remote-http.*$SILENT_PORT/$name"
	begun=$SECONDS
	run service "http://127.0.0.1:$SILENT_PORT/$name" --unsettled
	[ "$status" -eq 0 ] && [ -z "$output" ]
	[ $((SECONDS - begun)) -le 2 ]
	wait $! || :
	[[ "$(message <"$BATS_TEST_TMPDIR/out")" == *"no answer within 5 s" ]]
}

@test "records without autodeploy and records with an error pass" {
	printf '%s\n' '{"order":"a","redirect_to_service":"x"}' '{"order":"b","error":{"tool":"t","message":"m","status":78}}' \
		'{"order":"c","gone":true}' >"$BATS_TEST_TMPDIR/in"
	run hq-sync --services <"$BATS_TEST_TMPDIR/in"
	[ "$status" -eq 1 ]
	[ "$(sort <<<"$output")" = "$(sort "$BATS_TEST_TMPDIR/in")" ]
}

@test "two orders of one repository share its clone" {
	repository "$name"
	for order in a b c d; do jq -cn --arg o $order --arg u "$url" '{order: $o, autodeploy: $u}'; done >"$BATS_TEST_TMPDIR/in"
	run hq-sync --services -j4 <"$BATS_TEST_TMPDIR/in"
	[ "$status" -eq 0 ]
	[ "$(jq -r .service.dir <<<"$output" | sort -u | wc -l)" -eq 1 ]
	[ "$(find "$STARPHLEET_ROOT/repos" -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
}

# --- one

@test "--one makes the directory and prints the commit; one with something in it is refused" {
	repository "$name"
	run --separate-stderr hq-sync --one "$url" "$BATS_TEST_TMPDIR/out"
	[ "$status" -eq 0 ] && [ "$output" = "$(commit_of "$name")" ] && [ -z "$stderr" ]
	[ "$(cat "$BATS_TEST_TMPDIR/out/index.html")" = "$name 1" ]
	run --separate-stderr hq-sync --one "$url" "$BATS_TEST_TMPDIR/out"
	[ "$status" -eq 78 ]
	[ "$stderr" = "hq-sync: not an empty directory: $BATS_TEST_TMPDIR/out" ]
	mkdir "$BATS_TEST_TMPDIR/empty"
	hq-sync --one "$url" "$BATS_TEST_TMPDIR/empty/"
	[ -e "$BATS_TEST_TMPDIR/empty/index.html" ]
}

# --- follow

@test "--follow: a line at once, at each pulse, at a touch, and an end with its reader" {
	mkdir -p "$STARPHLEET_RUN"
	mkfifo "$BATS_TEST_TMPDIR/pipe"
	STARPHLEET_PULSE=2 hq-sync --follow >"$BATS_TEST_TMPDIR/pipe" 3>&- &
	follower=$!
	exec 8<"$BATS_TEST_TMPDIR/pipe"
	read -r -t 1 -u 8 line && [ "$line" = '{"pulse":1}' ]
	touch "$STARPHLEET_RUN/pulse"
	read -r -t 1 -u 8 line && [ "$line" = '{"pulse":2}' ]
	touch "$STARPHLEET_RUN/pulse"
	read -r -t 1 -u 8 line
	read -r -t 4 -u 8 line
	# A slow reader finds one line, not one for each touch.
	for _ in 1 2 3 4 5; do
		touch "$STARPHLEET_RUN/pulse"
		wait_for true
	done
	read -r -t 1 -u 8 line
	exec 8<&-
	wait_for ended "$follower"
	wait "$follower"
}

# --- options

@test "usage, version and misuse" {
	run --separate-stderr hq-sync --help
	[ "$status" -eq 0 ] && [[ "$output" == "usage: hq-sync "* ]]
	run hq-sync --version
	[ "$status" -eq 0 ] && [[ "$output" == "hq-sync "* ]]
	for bad in --nonsense "-j 0 --services" --unsettled "--one x" "--services --follow" extra; do
		# shellcheck disable=SC2086 # several words
		run --separate-stderr hq-sync $bad
		[ "$status" -eq 64 ] && [ -z "$output" ]
	done
	STARPHLEET_GIT_TIMEOUT=soon run --separate-stderr hq-sync --services </dev/null
	[ "$status" -eq 78 ]
	[ "$stderr" = "hq-sync: bad setting: STARPHLEET_GIT_TIMEOUT: a number from 1 to 86400 is needed" ]
}
