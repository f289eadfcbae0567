# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Real Git servers on loopback for tests, all below one directory and on free ports:
#
#   servers_up DIR       smart http (git http-backend behind nginx and fcgiwrap) and sshd; sets and
#                        exports GIT_SERVERS=DIR, GIT_HTTP=http://127.0.0.1:PORT, GIT_SSH_PORT,
#                        GIT_SSH_URL=ssh://USER@127.0.0.1:PORT; repositories lie in DIR/git
#   servers_down         ends all that was started here
#   repository NAME      a bare repository DIR/git/NAME.git, its work tree DIR/work/NAME, one commit
#   change NAME FILE TEXT   a commit of that in the work tree, pushed to the branch it is on
#   silent_server        accepts and says nothing; its port in SILENT_PORT
#   garbage_server       answers everything with the same garbage; its port in GARBAGE_PORT
#   ssh_trust KEYS       lets the ship with the folder of keys KEYS in: user key and known_hosts
#
# Below GIT_HTTP: /git/NAME.git; /login/NAME.git asks for tester and secret; /moved/NAME.git leads
# to /git, /away/NAME.git to another scheme.

free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# wait_for COMMAND...: until it succeeds, 10 s at most.
wait_for() {
	local deadline=$((SECONDS + 10))
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		perl -e 'select(undef, undef, undef, 0.02)'
	done
}

port_open() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

git() {
	command git -c user.name=Tester -c user.email=tester@example.org -c init.defaultBranch=main \
		-c commit.gpgsign=false -c protocol.file.allow=always -c core.hooksPath=/dev/null \
		-c advice.detachedHead=false "$@"
}

http_up() {
	local port
	port=$(free_port)
	printf 'tester:%s\n' "$(openssl passwd -6 secret)" >"$GIT_SERVERS/htpasswd"
	cat >"$GIT_SERVERS/nginx.conf" <<-CONF
		user root;
		worker_processes 1;
		pid $GIT_SERVERS/nginx.pid;
		error_log $GIT_SERVERS/nginx.log;
		events { worker_connections 256; }
		http {
			access_log $GIT_SERVERS/access.log;
			client_max_body_size 0;
			client_body_temp_path $GIT_SERVERS/tmp1;
			proxy_temp_path $GIT_SERVERS/tmp2;
			fastcgi_temp_path $GIT_SERVERS/tmp3;
			uwsgi_temp_path $GIT_SERVERS/tmp4;
			scgi_temp_path $GIT_SERVERS/tmp5;
			fastcgi_param REQUEST_METHOD \$request_method;
			fastcgi_param QUERY_STRING \$query_string;
			fastcgi_param CONTENT_TYPE \$content_type;
			fastcgi_param CONTENT_LENGTH \$content_length;
			fastcgi_param SERVER_PROTOCOL \$server_protocol;
			fastcgi_param SCRIPT_FILENAME $(command git --exec-path)/git-http-backend;
			fastcgi_param GIT_PROJECT_ROOT $GIT_SERVERS/git;
			fastcgi_param GIT_HTTP_EXPORT_ALL 1;
			fastcgi_param GIT_PROTOCOL \$http_git_protocol;
			fastcgi_param PATH_INFO \$repository;
			server {
				listen 127.0.0.1:$port;
				location ~ ^/git(/.*)\$ {
					set \$repository \$1;
					fastcgi_pass unix:$GIT_SERVERS/fcgi;
				}
				location ~ ^/login(/.*)\$ {
					auth_basic login;
					auth_basic_user_file $GIT_SERVERS/htpasswd;
					set \$repository \$1;
					fastcgi_pass unix:$GIT_SERVERS/fcgi;
				}
				location /moved/ { rewrite ^/moved(/.*)\$ http://127.0.0.1:$port/git\$1 redirect; }
				location /away/ { rewrite ^/away(/.*)\$ https://127.0.0.1:$port/git\$1 redirect; }
			}
		}
	CONF
	fcgiwrap -c 1 -s "unix:$GIT_SERVERS/fcgi" </dev/null >/dev/null 2>&1 3>&- &
	echo $! >>"$GIT_SERVERS/pids"
	nginx -c "$GIT_SERVERS/nginx.conf" -e "$GIT_SERVERS/nginx.log" -g 'daemon off;' </dev/null >/dev/null 2>&1 3>&- &
	echo $! >>"$GIT_SERVERS/pids"
	export GIT_HTTP=http://127.0.0.1:$port
	wait_for test -S "$GIT_SERVERS/fcgi" && wait_for port_open "$port"
}

sshd_start() {
	"$(command -v sshd)" -D -e -f "$GIT_SERVERS/sshd_config" 2>>"$GIT_SERVERS/sshd.log" 3>&- &
	echo $! >"$GIT_SERVERS/sshd.pid"
	wait_for port_open "$GIT_SSH_PORT"
}

sshd_stop() {
	kill "$(cat "$GIT_SERVERS/sshd.pid")" 2>/dev/null || :
	wait "$(cat "$GIT_SERVERS/sshd.pid")" 2>/dev/null || :
}

host_key_new() {
	rm -f "$GIT_SERVERS/host_key" "$GIT_SERVERS/host_key.pub"
	ssh-keygen -q -t ed25519 -N '' -C '' -f "$GIT_SERVERS/host_key"
}

ssh_up() {
	GIT_SSH_PORT=$(free_port)
	host_key_new
	ssh-keygen -q -t ed25519 -N '' -C '' -f "$GIT_SERVERS/user_key"
	cp "$GIT_SERVERS/user_key.pub" "$GIT_SERVERS/authorized_keys"
	mkdir -p /run/sshd # sshd's own place, which a machine without systemd may lack
	cat >"$GIT_SERVERS/sshd_config" <<-CONF
		ListenAddress 127.0.0.1
		Port $GIT_SSH_PORT
		HostKey $GIT_SERVERS/host_key
		AuthorizedKeysFile $GIT_SERVERS/authorized_keys
		PidFile none
		StrictModes no
		UsePAM no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin prohibit-password
	CONF
	export GIT_SSH_PORT GIT_SSH_URL
	GIT_SSH_URL=ssh://$(id -un)@127.0.0.1:$GIT_SSH_PORT$GIT_SERVERS/git
	sshd_start
}

ssh_trust() {
	mkdir -p "$1"
	cp "$GIT_SERVERS/user_key" "$1/id_ship"
	chmod 600 "$1/id_ship"
	printf '[127.0.0.1]:%s %s\n' "$GIT_SSH_PORT" "$(cat "$GIT_SERVERS/host_key.pub")" >"$1/known_hosts"
}

# One that is no Git server at all: PERL is run for each connection, with it as $c.
odd_server() {
	perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(Listen => 16, LocalAddr => "127.0.0.1", ReuseAddr => 1) or die;
		open my $f, ">", "$ARGV[0].tmp" or die; print $f $s->sockport; close $f; rename "$ARGV[0].tmp", $ARGV[0];
		my @kept;
		while (my $c = $s->accept) { '"$2"' }' "$1" 3>&- &
	echo $! >>"$GIT_SERVERS/pids"
	wait_for test -s "$1"
	cat "$1"
}

silent_server() {
	# shellcheck disable=SC2016 # Perl's own variables
	odd_server "$GIT_SERVERS/silent" 'push @kept, $c;' >"$GIT_SERVERS/silent.port"
	SILENT_PORT=$(cat "$GIT_SERVERS/silent.port")
	export SILENT_PORT
}

garbage_server() {
	# shellcheck disable=SC2016 # Perl's own variables
	odd_server "$GIT_SERVERS/garbage" 'sysread $c, my $b, 4096; print $c "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\nzzzz\x00\xff\x1b[31m" x 3; close $c;' \
		>"$GIT_SERVERS/garbage.port"
	GARBAGE_PORT=$(cat "$GIT_SERVERS/garbage.port")
	export GARBAGE_PORT
}

servers_up() {
	export GIT_SERVERS=$1
	mkdir -p "$GIT_SERVERS/git" "$GIT_SERVERS/work"
	http_up
	ssh_up
}

servers_down() {
	local pid
	sshd_stop
	while read -r pid; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done <"$GIT_SERVERS/pids"
}

repository() {
	git init -q --bare "$GIT_SERVERS/git/$1.git"
	git init -q "$GIT_SERVERS/work/$1"
	git -C "$GIT_SERVERS/work/$1" remote add origin "$GIT_SERVERS/git/$1.git"
	change "$1" index.html "$1 1"
}

change() {
	mkdir -p "$(dirname "$GIT_SERVERS/work/$1/$2")"
	printf '%s\n' "$3" >"$GIT_SERVERS/work/$1/$2"
	git -C "$GIT_SERVERS/work/$1" add -A
	git -C "$GIT_SERVERS/work/$1" commit -q -m "$3"
	git -C "$GIT_SERVERS/work/$1" push -q origin HEAD
}

# The commit that a revision of a work tree means.
commit_of() { git -C "$GIT_SERVERS/work/$1" rev-parse "${2:-HEAD}^{commit}"; }
