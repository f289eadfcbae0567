# SPDX-License-Identifier: MIT
# webinstall, on this machine but into a prefix, a root and ports of its own, beside any ship there is.
bats_require_minimum_version 1.5.0
load lib/ship

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	export STARPHLEET_CACHE=$BATS_TEST_TMPDIR/cache STARPHLEET_INIT=none
}

teardown() {
	[ -z "${SHIP_DIR-}" ] || ship_down
}

no_processes() {
	[ -z "$(ship_processes)" ]
}

@test "webinstall: usage" {
	run -0 "$top/webinstall" --help
	[[ $output == *'sudo ./webinstall test'* ]]
	run -64 "$top/webinstall" --nonsense
}

@test "webinstall: a port that is taken is named before anything is changed" {
	port=$((26000 + RANDOM % 3000))
	python3 -m http.server --bind 127.0.0.1 "$port" >/dev/null 2>&1 3>&- &
	server=$!
	for _ in $(seq 50); do
		! curl -s "http://127.0.0.1:$port/" >/dev/null || break
		sleep 0.1
	done
	STARPHLEET_HTTP_PORT=$port run -69 "$top/webinstall"
	kill "$server"
	[[ $output == *"port $port is taken by python3. Stop that, or take another port: "* ]]
	[[ $output == *"Nothing was changed." ]]
	[ ! -e "$STARPHLEET_CACHE" ]
}

@test "webinstall: a ship with the sample headquarters, twice, and away again" {
	ship_up
	# Containers' users go through the prefix, to process 1.
	export STARPHLEET_PREFIX=$SHIP_DIR/usr STARPHLEET_INI=$SHIP_DIR/etc.starphleet/ship.ini
	unset STARPHLEET_SHARE STARPHLEET_LIBEXEC STARPHLEET_HEADQUARTERS STARPHLEET_ALLOW_FILE_URLS HEADQUARTERS_URL
	run -0 "$top/webinstall" </dev/null
	echo "$output"
	for path in / /echo/ /tools/clock/; do
		[[ $output == *":$STARPHLEET_HTTP_PORT$path  answers 200"* ]]
	done
	[[ $output == *"$STARPHLEET_ROOT/private_keys"* ]]
	settings=$(cat "$STARPHLEET_INI")
	containers=$(cd "$LXC_ROOT" && echo *)
	pid=$(cat "$STARPHLEET_RUN/nginx.pid")

	# Again: an update, which changes nothing that serves. A pushed change stays.
	git -c protocol.file.allow=always clone -q "$STARPHLEET_ROOT/git/welcome.git" "$BATS_TEST_TMPDIR/welcome"
	cd "$BATS_TEST_TMPDIR/welcome"
	echo hello >index.html
	git -c user.name=T -c user.email=t@example.org commit -qam hello
	git push -q
	run -0 "$top/webinstall" </dev/null
	echo "$output"
	[[ $output == *":$STARPHLEET_HTTP_PORT/echo/  answers 200"* ]]
	[ "$(cat "$STARPHLEET_INI")" = "$settings" ]
	[ "$(cat "$STARPHLEET_RUN/nginx.pid")" = "$pid" ]
	for container in $containers; do
		case $container in
		echo-* | tools+clock-*) [ -d "$LXC_ROOT/$container" ] ;;
		esac
	done
	ship_until 30 sh -c 'curl -s "http://127.0.0.1:$1/" | grep -qx hello' sh "$STARPHLEET_HTTP_PORT"

	run -0 "$top/webinstall" --uninstall --purge
	[ ! -e "$STARPHLEET_ROOT" ]
	[ ! -e "$STARPHLEET_INI" ]
	[ ! -e "$STARPHLEET_CACHE" ]
	[ -z "$(find "$STARPHLEET_PREFIX" -type f)" ]
	[ -z "$(ls -A "$LXC_ROOT")" ]
	run ! ip link show "$STARPHLEET_BRIDGE"
	# What was at work when the ship ended may finish.
	ship_until 15 no_processes || {
		ps -fp "$(ship_processes | paste -sd,)"
		false
	}
}
