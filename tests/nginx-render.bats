#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# nginx-render against a real nginx and the kernel's real nftables. Services are network namespaces.

# bats runs each test in a subshell, and load is not followed.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load lib/net

setup() {
	net_up
}

teardown() {
	net_down
}

one=echo-1234567-aaaaaaa
two=echo-1234567-bbbbbbb

conf() {
	cat "$STARPHLEET_ROOT/nginx/current/nginx.conf"
}

state() {
	cat "$STARPHLEET_ROOT/current_orders/$1"
}

answers() {
	[ "$(curl -s -o /dev/null -w '%{http_code}' "$url$1")" = "${2:-200}" ]
}

no_cors() {
	never grep -qi access-control <<<"$(curl -si "$url/echo/" -H 'Origin: http://a.example')"
}

# first_line PATH WANTED
first_line() {
	[ "$(curl -s "$url$1" | head -1)" = "$2" ]
}

# nginx running, and ORDER published from a namespace at host 2.
ship_with() {
	nginx-render </dev/null
	net_nginx
	local container=${1//\//+}
	net_container "${container:-+}-1234567-aaaaaaa" 2 one
	publish "$1" "${container:-+}-1234567-aaaaaaa" 2 "${2:-.}"
	net_until 50 answers "/$1${1:+/}"
}

master_started() {
	cut -d' ' -f22 "/proc/$(cat "$STARPHLEET_RUN/nginx.pid")/stat"
}

workers() {
	pgrep -P "$(cat "$STARPHLEET_RUN/nginx.pid")" | sort | tr '\n' ' '
}

@test "nginx-render: --help, --version, misuse" {
	run -0 nginx-render --help
	[[ $output == "usage: nginx-render [-v] [--no-reload]"* ]]
	run -0 nginx-render --version
	[[ $output == nginx-render\ * ]]
	run --separate-stderr -64 nginx-render --nonsense
	[ -z "$output" ]
	run -64 nginx-render operand
}

@test "nginx-render: without records it writes a configuration that nginx takes, and again changes nothing" {
	nginx-render </dev/null
	nginx -t -q -p "$STARPHLEET_ROOT/nginx" -c "$STARPHLEET_ROOT/nginx/current/nginx.conf"
	before=$(readlink "$STARPHLEET_ROOT/nginx/current")
	nginx-render </dev/null
	[ "$(readlink "$STARPHLEET_ROOT/nginx/current")" = "$before" ]
	[ "$(stat -c %a "$STARPHLEET_ROOT/nginx/current/nginx.conf")" = 600 ]
}

@test "nginx-render: an order answers at its path, the prefix stripped; other paths are 404" {
	ship_with echo >"$BATS_TEST_TMPDIR/out"
	jq -e '.state == "online" and .published.location == "/echo/" and (has("error") | not)' "$BATS_TEST_TMPDIR/out"
	curl -s "$url/echo/a/b?c=d" | grep -qxF 'GET /a/b?c=d HTTP/1.1'
	[ "$(curl -s -o /dev/null -w '%{http_code} %header{location}' "$url/echo?c=d")" = "301 /echo/?c=d" ]
	answers /echoes/ 404
	answers / 404
	answers /starphleet/nginx/status 200
	answers /starphleet/else 404
	state echo/serving.json | jq -e --arg one "$one" '.container == $one and .published and .port == 3001
		and .location == "/echo/" and .commit == "abcdef0123" and .orders_id == "1234567890"
		and .settings.SECURITY_MODE == "public"'
	state echo/wanted.json | jq -e '.state == "online"'
}

@test "nginx-render: root and nested orders, the longest prefix wins" {
	ship_with ""
	net_container api-1234567-aaaaaaa 3 api
	net_container api+v1-1234567-aaaaaaa 4 v1
	{
		record api api-1234567-aaaaaaa 3
		record api/v1 api+v1-1234567-aaaaaaa 4
	} | nginx-render
	net_until 50 first_line /api/v1/x v1
	[ "$(curl -s "$url/api/v2/x" | head -1)" = api ]
	[ "$(curl -s "$url/api/../other" --path-as-is | head -1)" = one ]
	[ "$(curl -s "$url/api/v1/../x" --path-as-is | head -1)" = api ]
	[ "$(curl -s "$url/api/%76%31/x" | head -1)" = v1 ]
	[ "$(curl -s "$url/" | head -1)" = one ]
}

@test "nginx-render: a new version is a swap of the map: nginx is not reloaded, the old one drains" {
	ship_with echo
	before=$(workers) generation=$(readlink "$STARPHLEET_ROOT/nginx/current")
	net_container "$two" 3 two
	publish echo "$two" 3
	[ "$(curl -s "$url/echo/" | head -1)" = two ]
	[ "$(workers)" = "$before" ]
	[ "$(readlink "$STARPHLEET_ROOT/nginx/current")" = "$generation" ]
	state "echo/draining/$one" | jq -e --arg boot "$(cat /proc/sys/kernel/random/boot_id)" \
		'.boot_id == $boot and .container == "echo-1234567-aaaaaaa" and .order == "echo" and .deadline_ms > 0'
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo/draining/$two" ]
	# And back, while the first still drains.
	publish echo "$one" 2
	[ "$(curl -s "$url/echo/" | head -1)" = one ]
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo/draining/$one" ]
	[ -e "$STARPHLEET_ROOT/current_orders/echo/draining/$two" ]
}

@test "nginx-render: the drain is as long as the orders say, and foreign containers of a like name stay" {
	ship_with echo
	mkdir -p "$LXC_ROOT/echo-7654321-ccccccc" "$LXC_ROOT/echo-two-1234567-aaaaaaa"
	echo '{"root":"/somewhere/else"}' >"$LXC_ROOT/echo-7654321-ccccccc/starphleet.json"
	jq -n --arg root "$STARPHLEET_ROOT" '{root: $root}' >"$LXC_ROOT/echo-two-1234567-aaaaaaa/starphleet.json"
	net_container "$two" 3 two
	publish echo "$two" 3 '.settings.STARPHLEET_DRAINSTOP_WAIT = "600"'
	[ "$(ls "$STARPHLEET_ROOT/current_orders/echo/draining")" = "$one" ]
	now=$(awk '{ printf "%d", $1 * 1000 }' /proc/uptime)
	state "echo/draining/$one" | jq -e --argjson now "$now" '(.deadline_ms - $now) > 590000 and (.deadline_ms - $now) <= 600000'
	run -1 publish echo "$one" 2 '.settings.STARPHLEET_DRAINSTOP_WAIT = "soon"'
	[[ $output == *"STARPHLEET_DRAINSTOP_WAIT must be a whole number from 0 to 86400: soon"* ]]
}

@test "nginx-render: what a service receives; a client cannot say what only the ship may say" {
	ship_with echo
	seen=$(curl -s "$url/echo/" -H 'Host: phleet.example:8080' -H 'X-Forwarded-For: 192.0.2.9' \
		-H 'X-Forwarded-Proto: https' -H 'X-Identity: root' -H 'X_Identity: root' -H 'x-IDENTITY: root' \
		-H 'X-Starphleet-Authentic: yes' -H 'X-Starphleet-User: root' -H 'X-Starphleet-OriginalUrl: x' \
		-H 'Proxy: http://evil' -H 'Connection: keep-alive, X-Real-IP' -H 'Upgrade: h2c')
	grep -qx 'Host: phleet.example:8080' <<<"$seen"
	grep -qx 'X-Forwarded-For: 192.0.2.9, 127.0.0.1' <<<"$seen"
	grep -qx 'X-Forwarded-Proto: http' <<<"$seen"
	grep -qx 'X-Forwarded-Host: phleet.example:8080' <<<"$seen"
	grep -qx "X-Forwarded-Server: $(hostname)" <<<"$seen"
	grep -qx 'X-Real-IP: 127.0.0.1' <<<"$seen"
	grep -qx 'Connection: close' <<<"$seen"
	never grep -qi 'identity\|x-starphleet\|^proxy:\|^upgrade:' <<<"$seen"
}

@test "nginx-render: USER_IDENTITY_HEADER of an order's own is removed from requests" {
	ship_with echo '.settings.USER_IDENTITY_HEADER = "X-Visitor"'
	seen=$(curl -s "$url/echo/" -H 'X-Visitor: root' -H 'X-Identity: root' -H 'Host: h')
	grep -qx 'Host: h' <<<"$seen"
	never grep -qi 'visitor\|identity' <<<"$seen"
}

@test "nginx-render: a websocket goes through" {
	ship_with echo
	exec 7<>"/dev/tcp/127.0.0.1/$STARPHLEET_HTTP_PORT"
	printf 'GET /echo/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n' >&7
	read -r -t 5 status <&7
	[[ $status == "HTTP/1.1 101"* ]]
	while read -r -t 5 line <&7 && [ "$line" != $'\r' ]; do :; done
	printf 'hello\n' >&7
	read -r -t 5 line <&7
	[ "$line" = hello ]
	exec 7>&-
}

@test "nginx-render: answers name the service; CORS is open unless the service or its orders say otherwise" {
	ship_with echo
	head=$(curl -si "$url/echo/" -H 'Origin: http://a.example')
	grep -qix $'x-starphleet-service: echo\r' <<<"$head"
	grep -qix $'access-control-allow-origin: \*\r' <<<"$head"
	never grep -qi 'allow-credentials' <<<"$head"
	never grep -qi '^server: nginx/' <<<"$head"
	head=$(curl -s -o /dev/null -D - "$url/echo/reply/Access-Control-Allow-Origin/b.example")
	[ "$(grep -ci access-control-allow-origin <<<"$head")" = 1 ]
	grep -qi 'access-control-allow-origin: b.example' <<<"$head"
	head=$(curl -si -X OPTIONS "$url/echo/" -H 'Origin: http://a.example' \
		-H 'Access-Control-Request-Method: PUT' -H 'Access-Control-Request-Headers: X-One')
	grep -q '^HTTP/1.1 204' <<<"$head"
	grep -qix $'access-control-allow-headers: X-One\r' <<<"$head"
	curl -s -X OPTIONS "$url/echo/" | grep -q '^OPTIONS /'
	publish echo "$one" 2 '.settings.CORS = "off"'
	net_until 50 no_cors
}

@test "nginx-render: a service cannot choose what nginx serves next" {
	ship_with echo
	net_container other-1234567-aaaaaaa 3 other
	publish other other-1234567-aaaaaaa 3
	net_until 50 answers /other/
	[ "$(curl -s "$url/echo/reply/X-Accel-Redirect/%2Fother%2F" | head -1)" = one ]
}

@test "nginx-render: bodies to 25 MB, headers to 32 kB" {
	ship_with echo
	head -c 25000000 /dev/zero >"$BATS_TEST_TMPDIR/body"
	curl -s --data-binary "@$BATS_TEST_TMPDIR/body" "$url/echo/" | grep -qx 'body 25000000'
	head -c 27000000 /dev/zero >"$BATS_TEST_TMPDIR/body"
	[ "$(curl -s -o /dev/null -w '%{http_code}' --data-binary "@$BATS_TEST_TMPDIR/body" "$url/echo/")" = 413 ]
	[ "$(curl -s -o /dev/null -w '%{http_code}' -H "X-Long: $(head -c 30000 /dev/zero | tr '\0' x)" "$url/echo/")" = 200 ]
	[ "$(curl -s -o /dev/null -w '%{http_code}' -H "X-Long: $(head -c 40000 /dev/zero | tr '\0' x)" "$url/echo/")" = 400 ]
}

@test "nginx-render: only SECURITY_MODE=public is published, never by omission" {
	nginx-render </dev/null
	net_claim "$one" 2
	for mode in null '""' '"htpasswd"' '"ldap"' '"jwt"' '"Public"' '"public "' '"public;"' 7 '["public"]'; do
		run -1 publish echo "$one" 2 ".settings.SECURITY_MODE = $mode"
		jq -e '.error.tool == "nginx-render" and .error.status == 78 and .state == "publish failed"
			and (.error.message | test("cannot publish: echo: SECURITY_MODE is .*set SECURITY_MODE=public"))' <<<"$output"
		[ ! -e "$STARPHLEET_ROOT/current_orders/echo/serving.json" ]
	done
	run -1 publish echo "$one" 2 'del(.settings)'
	never grep -q 'order: echo' <<<"$(conf)"
	state echo/wanted.json | jq -e .error.message
}

@test "nginx-render: a service that now asks for a login is closed at once, even if its build failed" {
	ship_with echo
	run -1 publish echo "$one" 2 '.settings.SECURITY_MODE = "htpasswd"'
	net_until 50 answers /echo/ 404
	state echo/serving.json | jq -e '.published == false and .container == "echo-1234567-aaaaaaa"'
	never grep -q elements <<<"$(nft list map ip "$STARPHLEET_BRIDGE" services)"
	publish echo "$one" 2
	net_until 50 answers /echo/
	record echo "$one" 2 '.settings.SECURITY_MODE = "jwt" | .error = {tool: "container-build", message: "no", status: 78} | del(.container)' \
		>"$BATS_TEST_TMPDIR/in"
	run -1 nginx-render <"$BATS_TEST_TMPDIR/in"
	[ "$output" = "$(cat "$BATS_TEST_TMPDIR/in")" ]
	net_until 50 answers /echo/ 404
}

@test "nginx-render: a record with an error passes untouched, and what serves goes on" {
	ship_with echo
	before=$(state echo/serving.json)
	line=$(record echo "$two" 3 '.error = {tool: "healthcheck", message: "no", status: 75} | .state = "failed"')
	run -1 nginx-render <<<"$line"
	[ "$output" = "$line" ]
	[ "$(state echo/serving.json)" = "$before" ]
	answers /echo/
}

@test "nginx-render: gone takes the route, not the container; gone again is fine" {
	ship_with echo
	run -0 nginx-render <<<'{"order":"echo","gone":true}'
	jq -e '.gone and (has("published") | not) and (has("error") | not)' <<<"$output"
	net_until 50 answers /echo/ 404
	[ ! -e "$STARPHLEET_ROOT/current_orders/echo/serving.json" ]
	state echo/wanted.json | jq -e .gone
	[ -e "$LXC_ROOT/$one" ]
	never grep -q elements <<<"$(nft list map ip "$STARPHLEET_BRIDGE" services)"
	nginx-render <<<'{"order":"echo","gone":true}'
	nginx-render <<<'{"order":"never","gone":true}'
	[ ! -e "$STARPHLEET_ROOT/current_orders/never" ]
	# It comes back at the same service address.
	publish echo "$one" 2
	net_until 50 answers /echo/
}

@test "nginx-render: unpublished orders are online without a route" {
	ship_with echo
	publish echo "$one" 2 '.unpublished = true | del(.settings)' >"$BATS_TEST_TMPDIR/out"
	jq -e '.state == "online" and (has("published") | not)' "$BATS_TEST_TMPDIR/out"
	net_until 50 answers /echo/ 404
	state echo/serving.json | jq -e '.published == false and (has("service_address") | not) and .container'
}

@test "nginx-render: many records make one generation and one record each" {
	nginx-render </dev/null
	for i in $(seq 60); do
		net_claim "svc$i-1234567-aaaaaaa" $((i + 10))
		record "svc$i" "svc$i-1234567-aaaaaaa" $((i + 10))
	done >"$BATS_TEST_TMPDIR/in"
	nginx-render <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
	[ "$(jq -r 'select(.state == "online") | .order' "$BATS_TEST_TMPDIR/out" | wc -l)" = 60 ]
	[ "$(conf | grep -c '# order: ')" = 60 ]
	[ "$(readlink "$STARPHLEET_ROOT/nginx/current")" = generations/2 ]
}

@test "nginx-render: only the newest three generations are kept" {
	nginx-render </dev/null
	for i in 2 3 4 5 6; do
		net_claim "svc$i-1234567-aaaaaaa" "$i"
		publish "svc$i" "svc$i-1234567-aaaaaaa" "$i"
	done
	mkdir "$STARPHLEET_ROOT/nginx/generations/.new.killed"
	nginx-render <<<'{"order":"svc2","gone":true}'
	[ "$(find "$STARPHLEET_ROOT/nginx/generations" -mindepth 1 -printf '%f\n' -prune | sort -n | tr '\n' ' ')" = "5 6 7 " ]
	[ "$(readlink "$STARPHLEET_ROOT/nginx/current")" = generations/7 ]
}

@test "nginx-render: refuses containers that are another order's, gone, or somewhere else" {
	nginx-render </dev/null
	net_claim "$one" 2
	refused() {
		local want=$1
		shift
		run -1 publish "$@"
		jq -e --arg want "$want" '.error.message | contains($want)' <<<"$output"
	}
	refused "the container is another order's" echo other-1234567-aaaaaaa 2
	refused "the container is another order's" echo echo-two-1234567-aaaaaaa 2
	refused "not there any more" echo "$two" 3
	refused "not there any more" echo "$one" 3
	refused "not there any more" echo "$one" 2 '.container.address = "127.0.0.1"'
	refused "port is none" echo "$one" 2 '.container.port = 0'
	refused "port is none" echo "$one" 2 '.container.port = 65536'
	refused "port is none" echo "$one" 2 '.container.port = "80"'
	refused "has no container" echo "$one" 2 'del(.container)'
	refused "names no order" echo "$one" 2 'del(.order)'
	refused "the ship's own path" starphleet starphleet-1234567-aaaaaaa 2
	refused "the ship's own path" starphleet/x starphleet+x-1234567-aaaaaaa 2
	[ -z "$(ls "$STARPHLEET_ROOT"/current_orders/*/serving.json 2>/dev/null)" ]
}

@test "row 18, row 23: hostile names and values: refused or harmless, nginx -t passes, others answer" {
	ship_with good
	net_claim "evil-1234567-aaaaaaa" 9
	perl "$net_lib/hostile-records" "10.$net_n.0.9" >"$BATS_TEST_TMPDIR/in"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/in")" -gt 1000 ]
	run nginx-render <"$BATS_TEST_TMPDIR/in"
	[ "$status" -eq 1 ]
	[ "$(wc -l <<<"$output")" = "$(wc -l <"$BATS_TEST_TMPDIR/in")" ]
	jq -es 'all(.error or .state == "online")' <<<"$output"
	# What was published is the name that is one, with headers that are some.
	[ "$(jq -r 'select(.state == "online") | .order' <<<"$output" | sort -u | grep -cv '^[A-Za-z0-9._/-]*$')" = 0 ]
	jq -es 'map(select(.settings.USER_IDENTITY_HEADER and .state == "online") | .settings.USER_IDENTITY_HEADER
		| test("^$|^[A-Za-z][A-Za-z0-9-]{0,63}$")) | all' <<<"$output"
	never grep -x 'host\|connection\|x-forwarded-for\|transfer-encoding\|content-length\|upgrade\|x-starphleet-service\|authorization\|cookie\|proxy\|x-real-ip\|sec-websocket-key' \
		<<<"$(jq -r 'select(.state == "online") | .settings.USER_IDENTITY_HEADER // "" | ascii_downcase' <<<"$output")"
	nginx -t -q -p "$STARPHLEET_ROOT/nginx" -c "$STARPHLEET_ROOT/nginx/current/nginx.conf"
	answers /good/
	answers /pwn 404
	[ -z "$(find "$STARPHLEET_ROOT/.." -name '*pwn*' ! -path '*/current_orders/*')" ]
}

@test "row 23: an order whose lines nginx refuses is left out by name, the others are published" {
	ship_with good
	cp -r "$STARPHLEET_SHARE" "$BATS_TEST_TMPDIR/share"
	export STARPHLEET_SHARE=$BATS_TEST_TMPDIR/share
	# Orders with a header of their own have this file's text among their lines, where it may not be.
	echo 'server_name extra.example;' >>"$STARPHLEET_SHARE/nginx/headers.conf"
	for i in 3 4 5; do
		net_claim "svc$i-1234567-aaaaaaa" "$i"
	done
	{
		record svc3 svc3-1234567-aaaaaaa 3
		record svc4 svc4-1234567-aaaaaaa 4 '.settings.USER_IDENTITY_HEADER = "X-Four"'
		record svc5 svc5-1234567-aaaaaaa 5
	} >"$BATS_TEST_TMPDIR/in"
	run -1 nginx-render <"$BATS_TEST_TMPDIR/in"
	jq -es '[.[] | .state] == ["online", "publish failed", "online"]' <<<"$output"
	jq -es '.[1].error.message | test("^cannot publish: svc4: .*\"server_name\" directive is not allowed here")' <<<"$output"
	conf | grep -q 'order: svc3'
	never grep -q 'order: svc4' <<<"$(conf)"
	conf | grep -q 'order: svc5'
	answers /good/
}

@test "row 22: a fault that is no order's: all wait, named, and what serves goes on" {
	ship_with good
	cp -r "$STARPHLEET_SHARE" "$BATS_TEST_TMPDIR/share"
	export STARPHLEET_SHARE=$BATS_TEST_TMPDIR/share
	echo 'nonsense_word on;' >>"$STARPHLEET_SHARE/nginx/http.conf"
	net_claim other-1234567-aaaaaaa 3
	run -1 publish other other-1234567-aaaaaaa 3
	[[ $output == *'"state":"publish failed"'* ]]
	[[ $output == *'unknown directive \"nonsense_word\"'* ]]
	answers /good/
	run -78 nginx-render </dev/null
	echo "$output"
	[[ $output == "nginx-render: nginx refuses the configuration: unknown directive"* ]]
}

@test "nginx-render: the binary gone, or a full disk: named, what serves goes on, and the next run heals" {
	ship_with good
	net_claim other-1234567-aaaaaaa 3
	record other other-1234567-aaaaaaa 3 >"$BATS_TEST_TMPDIR/in"
	mkdir "$BATS_TEST_TMPDIR/bin"
	for tool in ip conntrack; do ln -s "$(command -v $tool)" "$BATS_TEST_TMPDIR/bin/"; done
	run -1 env PATH="$(dirname "$(command -v nginx-render)"):$BATS_TEST_TMPDIR/bin" nginx-render <"$BATS_TEST_TMPDIR/in"
	[[ $output == *'cannot start: nginx'* ]]
	answers /good/
	[ -e "$STARPHLEET_ROOT/nginx/pending" ]
	nginx-render </dev/null
	[ ! -e "$STARPHLEET_ROOT/nginx/pending" ]
	net_until 50 never answers /other/ 404
	run --separate-stderr -75 sh -c 'nginx-render <"$1" >/dev/full' sh "$BATS_TEST_TMPDIR/in"
	[ "$stderr" = "nginx-render: cannot write: standard output: No space left on device" ]
}

# Kill what has our prefix open; true if there was nothing.
no_nginx_left() {
	local pids
	pids=$(find /proc/[0-9]*/fd -lname "$STARPHLEET_ROOT/nginx/*" 2>/dev/null | cut -d/ -f3 | sort -u)
	[ -z "$pids" ] || ! xargs kill -KILL <<<"$pids"
}

@test "row 22: configuration edited, prefix deleted, nginx killed: put back by a run without records" {
	ship_with echo
	echo 'nonsense;' >>"$STARPHLEET_ROOT/nginx/current/nginx.conf"
	nginx-render </dev/null
	never grep -q nonsense <<<"$(conf)"
	answers /echo/
	rm -rf "$STARPHLEET_ROOT/nginx/generations" "$STARPHLEET_ROOT/nginx/current"
	nginx-render </dev/null
	conf | grep -q 'order: echo'
	answers /echo/
	kill -KILL "$(cat "$STARPHLEET_RUN/nginx.pid")"
	# With the master, no worker is left that it had only begun to start for the last reload.
	net_until 50 no_nginx_left
	nginx-render </dev/null
	net_nginx
	net_until 50 answers /echo/
}

@test "nginx-render: a pid file that names somebody else signals nobody" {
	nginx-render </dev/null
	sleep 1000 3>&- &
	victim=$!
	net_pids="$net_pids $victim"
	echo "$victim" >"$STARPHLEET_RUN/nginx.pid"
	net_claim "$one" 2
	publish echo "$one" 2
	kill -0 "$victim"
	rm "$STARPHLEET_RUN/nginx.pid"
}

@test "row 4: killed at any moment, the next run without records has nginx and the map right" {
	ship_with echo
	net_claim other-1234567-aaaaaaa 9
	for n in $(seq 1 25); do
		if [ $((n % 2)) = 1 ]; then
			record other other-1234567-aaaaaaa 9 >"$BATS_TEST_TMPDIR/in"
		else
			echo '{"order":"other","gone":true}' >"$BATS_TEST_TMPDIR/in"
		fi
		timeout -s KILL "0.0$((n * 37 % 90 + 10))" nginx-render <"$BATS_TEST_TMPDIR/in" >/dev/null || :
		answers /echo/
		nginx-render </dev/null
		nginx -t -q -p "$STARPHLEET_ROOT/nginx" -c "$STARPHLEET_ROOT/nginx/current/nginx.conf"
		if [ -e "$STARPHLEET_ROOT/current_orders/other/serving.json" ]; then
			conf | grep -q 'order: other'
			nft list map ip "$STARPHLEET_BRIDGE" services | grep -q "10.$net_n.0.9 "
		else
			never grep -q 'order: other' <<<"$(conf)"
			never grep -q "10.$net_n.0.9 " <<<"$(nft list map ip "$STARPHLEET_BRIDGE" services)"
		fi
		[ ! -e "$STARPHLEET_ROOT/nginx/pending" ]
	done
	[ -z "$(find "$STARPHLEET_ROOT/nginx" -name '.new.*')" ]
}

@test "nginx-render: two at once publish both" {
	nginx-render </dev/null
	for i in $(seq 2 9); do
		net_claim "svc$i-1234567-aaaaaaa" "$i"
		record "svc$i" "svc$i-1234567-aaaaaaa" "$i" >"$BATS_TEST_TMPDIR/in$i"
	done
	pids=
	for i in $(seq 2 9); do
		nginx-render <"$BATS_TEST_TMPDIR/in$i" >/dev/null 3>&- &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid"
	done
	[ "$(conf | grep -c '# order: ')" = 8 ]
	[ "$(nft list map ip "$STARPHLEET_BRIDGE" services | grep -o "10.$net_n.0.[0-9]* . 3001" | sort -u | wc -l)" = 8 ]
}

@test "nginx-render: records are passed on as they come, not at the end of the input" {
	nginx-render </dev/null
	net_claim "$one" 2
	mkfifo "$BATS_TEST_TMPDIR/in"
	nginx-render <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" 3>&- &
	exec 7>"$BATS_TEST_TMPDIR/in"
	record echo "$one" 2 >&7
	net_until 50 grep -q online "$BATS_TEST_TMPDIR/out"
	exec 7>&-
	wait
}
