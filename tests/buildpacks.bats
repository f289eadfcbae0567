#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2030,SC2031 # each test runs in a subshell of its own, and means to
# Our buildpacks by themselves: what they detect, say and start. In containers: container.bats.
bats_require_minimum_version 1.5.0

setup() {
	packs=${STARPHLEET_SHARE:?}/buildpacks
	app=$BATS_TEST_TMPDIR/app cache=$BATS_TEST_TMPDIR/cache env=$BATS_TEST_TMPDIR/env
	mkdir "$app" "$cache" "$env"
	servers=()
}

teardown() {
	for server in "${servers[@]}"; do kill -- "-$server" "$server" 2>/dev/null || true; done
}

compile() {
	HOME=$BATS_TEST_TMPDIR run "$packs/nodejs/bin/compile" "$app" "$cache" "$env"
	echo "$output"
}

needs_node() {
	command -v npm >/dev/null || skip 'no npm on this machine; container.bats has it in the stack'
}

@test "buildpacks: each detects its own, and nothing in an empty tree" {
	for pack in static nodejs; do run -1 "$packs/$pack/bin/detect" "$app"; done
	touch "$app/index.html"
	run -0 "$packs/static/bin/detect" "$app"
	[ "$output" = static ]
	run -1 "$packs/nodejs/bin/detect" "$app"
	touch "$app/package.json"
	run -0 "$packs/nodejs/bin/detect" "$app"
	[ "$output" = NodeJS ]
}

@test "buildpacks: release names a web process, packages are names of packages" {
	for pack in "$packs"/*; do
		run -0 "$pack/bin/release" "$app"
		[[ $output == *$'\n'default_process_types:$'\n  web: '?* ]]
		run -1 grep -vE '^[a-z0-9][a-z0-9.+-]+$' "$pack/packages"
	done
	[ -e "$packs/static/source-only" ]
	[ ! -e "$packs/nodejs/source-only" ]
}

@test "nodejs: installs what package.json names, with a cache, without a network for local parts" {
	needs_node
	mkdir "$app/dep"
	echo '{"name":"dep","version":"1.0.0","main":"m.js"}' >"$app/dep/package.json"
	echo 'module.exports = 42' >"$app/dep/m.js"
	echo '{"name":"app","version":"1.0.0","engines":{"node":"4.x"},"scripts":{"start":"node x.js"},
		"dependencies":{"dep":"file:./dep"}}' >"$app/package.json"
	compile
	[ "$status" -eq 0 ]
	[[ $output == *"engines.node 4.x: not used, the distribution's version runs"* ]]
	[[ $output == *'-----> npm install'* ]]
	[ "$(cd "$app" && node -p 'require("dep")')" = 42 ]
	[ -d "$cache/npm" ]
	compile
	[ "$status" -eq 0 ]
	[[ $output == *'-----> npm ci'* ]]
}

@test "nodejs: asks the registry that the environment names, and fails in its last line" {
	needs_node
	perl "$BATS_TEST_DIRNAME/fixtures/healthcheck/server" "$BATS_TEST_TMPDIR/registry" status 404 3>&- 4>&- &
	servers+=("$!")
	until [ -s "$BATS_TEST_TMPDIR/registry" ]; do sleep 0.02; done
	printf 'http://127.0.0.1:%s/' "$(cat "$BATS_TEST_TMPDIR/registry")" >"$env/npm_config_registry"
	printf 'no' >"$env/PATH"
	echo '{"name":"app","version":"1.0.0","scripts":{"start":"x"},"dependencies":{"nothing-like-it":"1"}}' >"$app/package.json"
	compile
	[ "$status" -eq 1 ]
	[[ ${lines[-1]} == ' !     npm install failed (status '*'): its own words are above' ]]
	[[ $output == *404* ]]
	grep -q '^GET /nothing-like-it ' "$BATS_TEST_TMPDIR/registry.log"
}

@test "nodejs: a broken package.json, or nothing to start, is said in one line" {
	needs_node
	echo '{"name": }' >"$app/package.json"
	compile
	[ "$status" -eq 1 ]
	[[ ${lines[-1]} == ' !     package.json: Unexpected token'* ]]
	echo '[]' >"$app/package.json"
	compile
	[ "$status" -eq 1 ]
	[ "${lines[-1]}" = ' !     package.json: not an object' ]
	echo '{"name":"app"}' >"$app/package.json"
	compile
	[ "$status" -eq 1 ]
	[ "${lines[-1]}" = ' !     nothing to start: no web line in a Procfile, no start script in package.json, no server.js' ]
	echo 'web: node x.js' >"$app/Procfile"
	compile
	[ "$status" -eq 0 ]
}

# The static pack's server, as in its container, in mounts of its own; port is its port.
serve() {
	port=$((21000 + RANDOM % 4000))
	install -m 666 /dev/null "$BATS_TEST_TMPDIR/log" # in a container init gives its pipe away
	# shellcheck disable=SC2016 # expanded in there
	unshare -m sh -euc 'mount -t tmpfs tmpfs /home; mount -t tmpfs tmpfs /usr/local/lib
		mount -t tmpfs tmpfs /var/log; mkdir /home/ubuntu; cp -R "$2" /home/ubuntu/app
		mount -t tmpfs -o mode=1777 tmpfs /tmp; chmod 755 /home/ubuntu/app
		sh "$1"/static/bin/stack
		PORT=$3 exec setpriv --reuid 65534 --regid 65534 --clear-groups /usr/local/lib/starphleet/serve-static' \
		sh "$packs" "$app" "$port" >>"$BATS_TEST_TMPDIR/log" 2>&1 3>&- 4>&- &
	servers+=("$!")
	for _ in $(seq 100); do
		! curl -so /dev/null "http://127.0.0.1:$port/" || return 0
		sleep 0.05
	done
	cat "$BATS_TEST_TMPDIR/log"
	return 1
}

@test "static: serves the site as an ordinary user, hides dot files, logs to its output" {
	mkdir -p "$app/docs/two words" "$app/.git" "$app/.well-known/acme"
	echo home >"$app/index.html"
	echo docs >"$app/docs/index.html"
	echo css >"$app/a.css"
	echo secret | tee "$app/.env" "$app/.git/config" "$app/docs/.hidden" >"$app/.well-known/acme/x"
	serve
	url=http://127.0.0.1:$port
	[ "$(curl -s "$url/")" = home ]
	[ "$(curl -s "$url/docs/")" = docs ]
	[ "$(curl -s "$url/.well-known/acme/x")" = secret ]
	[[ $(curl -sI "$url/a.css") == *'Content-Type: text/css'* ]]
	[[ $(curl -sI "$url/") != *nginx/[0-9]* ]]
	for path in .env .git/config docs/.hidden %2eenv docs/%2ehidden .git/ nothing docs/../.env; do
		[ "$(curl -s --path-as-is -o /dev/null -w '%{http_code}' "$url/$path")" = 404 ]
	done
	grep -q '"GET /docs/ HTTP/1.1" 200' "$BATS_TEST_TMPDIR/log"
	[ "$(ps -o user= -p "$(pgrep -nf 'nginx: worker process')" | xargs)" != root ]
}

@test "static: a folder's slash is added by a relative redirect, right below any published path" {
	mkdir -p "$app/docs/two words"
	touch "$app/index.html" "$app/docs/index.html"
	serve
	url=http://127.0.0.1:$port
	location() { curl -sI --path-as-is "$url$1" | tr -d '\r' | sed -n 's/^Location: //p'; }
	[ "$(location /docs)" = ./docs/ ]
	[ "$(location '/docs?a=/b')" = './docs/?a=/b' ]
	[ "$(location '/docs/two%20words')" = './two%20words/' ]
	[ "$(location '//docs')" = './docs/' ]
	[ -z "$(location '/docs%0d%0aSet-Cookie:x')" ]
	[ -z "$(location /docs/)" ]
}

@test "static: a PORT that is no number is refused" {
	awk '/^SERVE$/ {f = 0} f {print} /<<.SERVE/ {f = 1}' "$packs/static/bin/stack" >"$BATS_TEST_TMPDIR/serve"
	for port in '' abc '80; include /etc/passwd' '8080
x'; do
		PORT=$port run -78 sh "$BATS_TEST_TMPDIR/serve"
		[[ $output == 'serve-static: PORT is no number: '* ]]
	done
}
