# SPDX-License-Identifier: MIT
# The jobs and starphleet-ship, with verbs that only pretend (fixtures/jobs/verbs), so that what is
# tested is how they are put together. The real thing is in the tests of the whole ship.
bats_require_minimum_version 1.5.0

setup() {
	export FAKE=$BATS_TEST_TMPDIR/fake
	export STARPHLEET_ROOT=$BATS_TEST_TMPDIR/root STARPHLEET_RUN=$BATS_TEST_TMPDIR/run
	export STARPHLEET_ETC=$BATS_TEST_TMPDIR/etc LXC_ROOT=$BATS_TEST_TMPDIR/lxc
	export STARPHLEET_SHARED_DATA=$BATS_TEST_TMPDIR/data STARPHLEET_INI=$BATS_TEST_TMPDIR/ini/ship.ini
	export STARPHLEET_BRIDGE=nobridge0 STARPHLEET_PULSE=1
	unset STARPHLEET_HEADQUARTERS
	PATH=$BATS_TEST_DIRNAME/fixtures/jobs/verbs:$PATH
	mkdir -p "$FAKE" "$STARPHLEET_RUN" "$STARPHLEET_ROOT/current_orders" "$BATS_TEST_TMPDIR/ini"
	echo '[starphleet]' >"$STARPHLEET_INI"
	echo '{"order":"echo","dir":"/nowhere"}' >"$FAKE/headquarters"
	dispatch=$(starphleet-settings STARPHLEET_LIBEXEC)/starphleet-dispatch
	port=$((21000 + RANDOM % 9000))
	ships=
}

teardown() {
	for ship in $ships; do
		kill "$ship" 2>/dev/null && wait "$ship" || :
	done
	ip link del sptwatch0 2>/dev/null || :
	nft delete table ip sptwatch0 2>/dev/null || :
	nginx_pid=$("$STARPHLEET_SHARE/jobs/nginx" --pid) && kill "$nginx_pid" || :
}


# Wait at most 10 s until a command works.
wait_for() {
	for _ in $(seq 100); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	echo "in vain: $*"
	cat "$BATS_TEST_TMPDIR"/ship.log || :
	return 1
}

# A real nginx on a port of its own, as nginx-render would configure it.
nginx_configured() {
	mkdir -p "$STARPHLEET_ROOT/nginx/current" "$STARPHLEET_ROOT/nginx/logs"
	cat >"$STARPHLEET_ROOT/nginx/current/nginx.conf" <<-END
		pid $STARPHLEET_RUN/nginx.pid;
		error_log $STARPHLEET_ROOT/nginx/logs/error.log;
		events {}
		http { access_log off; server { listen 127.0.0.1:$port; return 200 "it serves\n"; } }
	END
}

ask() {
	curl -sS "http://127.0.0.1:$port/" | grep -q 'it serves'
}

ship() {
	starphleet-ship "$@" >>"$BATS_TEST_TMPDIR/ship.log" 2>&1 3>&- &
	ships="$ships $!"
}

# The processes of this test's ship: those that have its $FAKE in their environment, but bats' own.
processes() {
	for environ in $(grep -lzxF "FAKE=$FAKE" /proc/[0-9]*/environ 2>/dev/null); do
		tr '\0' ' ' <"${environ%environ}cmdline" 2>/dev/null | grep -E '/jobs/|verbs/|starphleet-ship' || :
	done
}

no_processes() {
	[ -z "$(processes)" ]
}

said() {
	grep -qF -- "$1" "$BATS_TEST_TMPDIR/ship.log"
}

@test "dispatch: each record gets a command of its own, and comes out as that left it" {
	run --separate-stderr -0 "$dispatch" nginx-render <<<'{"order":"echo","service":{"commit":"0123456789"}}'
	[ "$output" = '{"order":"echo","service":{"commit":"0123456789"},"state":"online","published":{"location":"/somewhere/"}}' ]
	[[ $stderr =~ ^echo:\ online\ at\ /somewhere/,\ version\ 0123456\ \([0-9.]+\ s\)$ ]]
}

@test "dispatch: the same error is said once, and is on file for hq-sync --unsettled" {
	record='{"order":"a/b","error":{"tool":"orders-parse","message":"line 3: oops","status":78}}'
	run --separate-stderr -1 "$dispatch" false <<<"$record"
	[ "$output" = "$record" ]
	[ "$stderr" = "a/b: orders-parse: line 3: oops" ]
	run --separate-stderr -1 "$dispatch" false <<<"$record"
	[ "$stderr" = "" ]
	[ "$(jq -c . "$STARPHLEET_ROOT/current_orders/a+b/wanted.json")" = "$record" ]
	run --separate-stderr -1 "$dispatch" false <<<"${record/oops/worse}"
	[ "$stderr" = "a/b: orders-parse: line 3: worse" ]
}

@test "dispatch: what may pass by itself is said once, and is not on file" {
	record='{"order":"echo","error":{"tool":"hq-sync","message":"no such host","status":75}}'
	run --separate-stderr -1 "$dispatch" false <<<"$record"
	[ "$stderr" = "echo: hq-sync: no such host" ]
	run --separate-stderr -1 "$dispatch" false <<<"$record"
	[ "$stderr" = "" ]
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo/wanted.json" ]
}

@test "dispatch: names that are none, and lines that are no records, write no file of their name" {
	run --separate-stderr -1 "$dispatch" cat <<<'{"order":"../../x","error":{"tool":"hq-sync","message":"bad\u0007 name"}}'$'\n''junk'
	[[ $stderr == *'?: hq-sync: bad\x07 name'* ]]
	[[ $stderr == *'not a record: line 2'* ]]
	[ -z "$(ls "$STARPHLEET_ROOT/current_orders")" ]
}

@test "dispatch: an order that is being deployed is passed over" {
	mkdir -p "$STARPHLEET_ROOT/current_orders/echo"
	exec 7>"$STARPHLEET_ROOT/current_orders/echo/deploy.lock"
	flock 7
	run --separate-stderr -0 "$dispatch" cat <<<'{"order":"echo"}'$'\n''{"order":"other"}'
	exec 7>&-
	[ "$output" = '{"order":"other"}' ]
}

@test "dispatch: an order that is gone loses its route once" {
	mkdir -p "$STARPHLEET_ROOT/current_orders/echo"
	run -0 "$dispatch" nginx-render <<<'{"order":"echo","gone":true}'
	[ "$output" = "" ]
	echo '{}' >"$STARPHLEET_ROOT/current_orders/echo/serving.json"
	run --separate-stderr -0 "$dispatch" "$STARPHLEET_SHARE/jobs/deploy" <<<'{"order":"echo","gone":true}'
	[[ $stderr == echo:\ gone* ]]
	[ ! -e "$FAKE/container-build" ]
}

@test "dispatch: a command that dies makes an error, not a silence" {
	run --separate-stderr -1 "$dispatch" false <<<'{"order":"echo"}'
	[[ $(jq -r .error.message <<<"$output") == *'exit status 1'* ]]
}

@test "dispatch: a slow deploy holds up no other, and a thousand records do not start a thousand at once" {
	cat >"$FAKE/slow" <<-'END'
		#!/bin/sh
		IFS= read -r record
		case $record in *'"slow"'*) sleep 3 ;; esac
		printf '%s\n' "$record"
	END
	chmod +x "$FAKE/slow"
	{
		echo '{"order":"slow"}'
		for i in $(seq 300); do echo "{\"order\":\"o$i\"}"; done
	} | "$dispatch" "$FAKE/slow" 2>/dev/null >"$FAKE/out"
	[ "$(wc -l <"$FAKE/out")" -eq 301 ]
	[ "$(tail -n 1 "$FAKE/out")" = '{"order":"slow"}' ]
}

@test "ship: a new order is deployed, its orders evaluated once, and warnings are not repeated" {
	nginx_configured
	ship
	wait_for said "pulse: echo: online at /somewhere/"
	sleep 1
	[ "$(wc -l <"$FAKE/parsed")" -eq 1 ]
	[ "$(grep -c 'hq-sync: a warning' "$BATS_TEST_TMPDIR/ship.log")" -eq 1 ]
	wait_for grep -qx -- --superseded "$FAKE/reaper"
	wait_for ask
	# The headquarters changes, and so does the ship's environment.
	echo '{"order":"other","dir":"/nowhere"}' >>"$FAKE/headquarters"
	wait_for grep -q '"other"' "$FAKE/published"
	mkdir -p "$STARPHLEET_ETC"
	echo 'export WHERE=here' >"$STARPHLEET_ETC/place"
	wait_for test "$(wc -l <"$FAKE/parsed")" -ge 2
	wait_for sh -c '[ "$(wc -l <"$FAKE/parsed")" -eq 3 ]'
}

@test "ship: a remote that hangs delays no pulse" {
	touch "$FAKE/hang"
	ship --jobs
	wait_for sh -c '[ "$(wc -l <"$FAKE/asked")" -ge 8 ]'
}

@test "ship: what watch finds sick is started again" {
	printf 'echo\n\n' >"$FAKE/sick"
	ship --jobs
	wait_for grep -qx -- '--serving --restart -- echo' "$FAKE/container-build"
	wait_for grep -qx -- '--serving --restart -- ' "$FAKE/container-build"
	said "watch: restarting (root)"
}

@test "ship: told to end, it ends its jobs and leaves nginx" {
	nginx_configured
	ship
	wait_for ask
	kill "$!"
	wait "$!"
	wait_for no_processes
	ask
	said "ended; containers and nginx go on"
}

@test "ship: killed, it leaves no job behind, and the next takes nginx over" {
	nginx_configured
	ship
	wait_for ask
	before=$("$STARPHLEET_SHARE/jobs/nginx" --pid)
	kill -9 "$!"
	wait_for no_processes
	ask
	ship
	wait_for sh -c '[ "$(grep -c "under way" "$1")" -eq 2 ]' sh "$BATS_TEST_TMPDIR/ship.log"
	sleep 0.5
	[ "$("$STARPHLEET_SHARE/jobs/nginx" --pid)" = "$before" ]
}

@test "ship: a second one in the same root is refused" {
	ship --jobs
	wait_for said "under way"
	run -75 starphleet-ship --jobs
	[[ $output == "starphleet-ship: a ship runs here already (pid $!)" ]]
	run -0 starphleet-ship --stop
	wait_for no_processes
}

@test "ship: a job that is killed comes back, and a keeper too" {
	ship --jobs
	wait_for said "under way"
	wait_for test -s "$FAKE/reaper"
	keeper=$(pgrep -P "$!" -f 'keep reaper')
	job=$(pgrep -P "$keeper" -f 'jobs/reaper')
	kill -9 "$job"
	wait_for said "reaper: ended with status 137; starting it again in 3 s"
	kill -9 "$keeper"
	wait_for said "the keeper of reaper was killed; starting another"
	wait_for sh -c '[ "$(pgrep -fc "jobs/reaper$" -P "$(pgrep -P "$1" -f "keep reaper")")" = 1 ]' sh "$!"
}

@test "ship: nginx whose master was killed is replaced, though its workers hold the port" {
	nginx_configured
	ship
	wait_for ask
	before=$("$STARPHLEET_SHARE/jobs/nginx" --pid)
	kill -9 "$before"
	wait_for "$STARPHLEET_SHARE/jobs/nginx" --pid
	[ "$("$STARPHLEET_SHARE/jobs/nginx" --pid)" != "$before" ]
	wait_for ask
}

@test "ship: hundreds of pulses leave no zombie, and the pulse does not grow" {
	export FAKE_PULSE=0.01
	ship --jobs
	keeper() { pgrep -P "$1" -f 'keep pulse'; }
	wait_for sh -c '[ "$(wc -l <"$FAKE/asked")" -ge 20 ]'
	reader=$(pgrep -P "$(pgrep -P "$(keeper "$!")" -f 'jobs/pulse')" -f 'jobs/pulse')
	before=$(awk '/VmData/ { print $2 }' "/proc/$reader/status")
	wait_for sh -c '[ "$(wc -l <"$FAKE/asked")" -ge 300 ]'
	[ "$(awk '/VmData/ { print $2 }' "/proc/$reader/status")" -le "$((before + 64))" ]
	[ "$(ps -o stat= --ppid "$reader" | grep -c Z || :)" -eq 0 ]
}

@test "ship: --background returns, --stop ends it" {
	run -0 starphleet-ship --background
	wait_for grep -q '^20.*Z pulse: echo: online' "$STARPHLEET_ROOT/logs/ship.log"
	run -0 starphleet-ship --stop
	wait_for no_processes
}

@test "netwatch: tells when the bridge or a table was deleted, not when something comes" {
	export STARPHLEET_BRIDGE=sptwatch0
	"${dispatch%/*}/starphleet-netwatch" >"$FAKE/lost" 3>&- &
	watcher=$!
	sleep 0.3
	ip link add sptwatch0 type bridge
	nft add table ip sptwatch0
	sleep 0.4
	: >"$FAKE/lost" # other ships on this machine may have lost something
	nft delete table ip sptwatch0
	wait_for grep -qx table "$FAKE/lost"
	ip link del sptwatch0
	wait_for grep -qx bridge "$FAKE/lost"
	kill "$watcher"
}

@test "settings: names, values, refusals" {
	[ "$(starphleet-settings STARPHLEET_RUN)" = "$STARPHLEET_RUN" ]
	starphleet-settings | grep -qx STARPHLEET_PULSE=1
	run -64 starphleet-settings STARPHLEET_NOTHING
	[ "$output" = "starphleet-settings: no such setting: STARPHLEET_NOTHING" ]
	STARPHLEET_PULSE=often run -78 starphleet-ship
	[[ $output == *'STARPHLEET_PULSE must be a whole number'* ]]
}

@test "headquarters: shown, changed, and not changed to what cannot be fetched" {
	run -78 starphleet-headquarters
	printf '; mine\n[starphleet]\npulse = 20\nheadquarters = https://old.example/hq\nhttp_port = 8080\n' >"$STARPHLEET_INI"
	run -0 starphleet-headquarters
	[ "$output" = https://old.example/hq ]
	before=$(cat "$STARPHLEET_INI")
	run -75 starphleet-headquarters https://bad.example/hq
	[ "$output" = "hq-sync: cannot fetch: https://bad.example/hq: no such host" ]
	[ "$(cat "$STARPHLEET_INI")" = "$before" ]
	run -0 starphleet-headquarters https://good.example/hq
	[ "$(cat "$STARPHLEET_INI")" = "$(printf '; mine\n[starphleet]\nheadquarters = https://good.example/hq\npulse = 20\nhttp_port = 8080')" ]
	[ -e "$STARPHLEET_RUN/pulse" ]
	[ "$(ls -A "$BATS_TEST_TMPDIR/ini")" = ship.ini ]
}

@test "each: --help is usage, --version a version, nonsense is 64" {
	for tool in "$dispatch" "${dispatch%/*}/starphleet-netwatch" starphleet-ship starphleet-headquarters starphleet-settings; do
		run -0 "$tool" --help
		[[ $output == "usage: ${tool##*/} "* ]]
		run -0 "$tool" --version
		[[ $output =~ ^${tool##*/}\ [0-9.]+$ ]]
		run -64 "$tool" --nonsense
	done
}
