#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Our buildpacks and process 1 where they belong: in containers of a ship.
bats_require_minimum_version 1.5.0
load lib/ship
load lib/phleet

setup_file() {
	ship_up
	phleet_init
}

teardown_file() { ship_down; }

# Deploy without nginx; record is what came out, address where the service answers.
deploy() { # deploy ORDER
	# shellcheck disable=SC2016 # expanded in there
	run --separate-stderr sh -c 'hq-sync | jq -c --arg order "$1" "select(.order == \$order)" | orders-parse |
		hq-sync --services | container-build | healthcheck' sh "$1"
	printf '%s\n' "$output" "${stderr:-}"
	record=$output
	name=$(jq -r '.container.name // empty' <<<"$record")
	address=$(jq -r '"\(.container.address):\(.container.port)"' <<<"$record")
	log=$STARPHLEET_ROOT/logs/$1/$name.log
}

@test "static: a site is deployed without a build, its log is on the ship" {
	phleet_static site
	mkdir -p "$SHIP_DIR/work/site/docs"
	echo docs >"$SHIP_DIR/work/site/docs/index.html"
	echo secret >"$SHIP_DIR/work/site/.env"
	phleet_commit site 'with docs'
	phleet_order site 'export PORT=8123' 'export HEALTHCHECK=/docs/'
	deploy site
	[ "$(jq -r .state <<<"$record")" = checking ]
	[ "$(jq -r .container.port <<<"$record")" = 8123 ]
	[ "$(curl -s "http://$address/")" = 'site 1' ]
	[ "$(curl -s "http://$address/docs/")" = docs ]
	[ "$(curl -s -o /dev/null -w '%{http_code}' "http://$address/.env")" = 404 ]
	ship_until 5 grep -q '"GET /docs/ HTTP/1.1" 200' "$log"
	grep -q '^starphleet-init: web started, process ' "$log"
}

@test "nodejs: its packages are installed, the service has its environment, dies and comes back" {
	phleet_repository echo
	local app=$SHIP_DIR/work/echo
	mkdir "$app/dep"
	echo '{"name":"dep","version":"1.0.0"}' >"$app/dep/package.json"
	echo 'module.exports = 42' >"$app/dep/index.js"
	echo '{"name":"echo","version":"1.0.0","scripts":{"start":"node app.js"},"dependencies":{"dep":"file:./dep"}}' >"$app/package.json"
	cat >"$app/app.js" <<-'END'
		require('http').createServer((request, response) => {
			if (request.url === '/die') process.exit(7);
			response.end(JSON.stringify({dep: require('dep'), uid: process.getuid(), cwd: process.cwd(),
				greeting: process.env.GREETING, secret: process.env.SECRET, pid: process.pid}));
		}).listen(process.env.PORT);
	END
	phleet_commit echo 'version 1'
	phleet_order echo 'SECRET=1' 'export GREETING="two words"' 'export HEALTHCHECK=/'
	deploy echo
	[ "$(jq -r .state <<<"$record")" = checking ]
	run -0 curl -s "http://$address/"
	echo "$output"
	[ "$(jq -c 'del(.pid)' <<<"$output")" = '{"dep":42,"uid":1000,"cwd":"/home/ubuntu/app","greeting":"two words"}' ]
	curl -s "http://$address/die" || true
	ship_until 20 curl -sf "http://$address/"
	grep -qE '^starphleet-init: web exited with status [0-9]+, starting again$' "$log"
}

@test "nodejs: a build that fails says so in the record, with npm's words" {
	phleet_repository broken
	echo '{"name": }' >"$SHIP_DIR/work/broken/package.json"
	phleet_commit broken 'version 1'
	phleet_order broken
	deploy broken
	[ "$(jq -r .state <<<"$record")" = 'building failed' ]
	[[ $(jq -r '.error.log[-1]' <<<"$record") == *'package.json: Unexpected token'* ]]
}

@test "healthcheck: a service that listens elsewhere fails, and its error says where (row 25)" {
	phleet_repository astray
	echo '{"name":"astray","version":"1.0.0"}' >"$SHIP_DIR/work/astray/package.json"
	echo 'require("http").createServer().listen(3000, "127.0.0.1", () => console.log("listening"))' >"$SHIP_DIR/work/astray/server.js"
	phleet_commit astray 'version 1'
	phleet_order astray 'export PORT=8080' 'HEALTHCHECK_INIT_DELAY=6'
	deploy astray
	[ "$(jq -r .state <<<"$record")" = failed ]
	[ "$(jq -r .error.message <<<"$record")" = "not listening within 6 s: tcp://$address: connection refused; the container listens at 127.0.0.1:3000" ]
	[ "$(jq -r '.error.log[-1]' <<<"$record")" = listening ]
	[ "$(jq .error.status <<<"$record")" -eq 78 ]
}
