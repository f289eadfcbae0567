# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# The first layer: what holds where no other layer says otherwise. Not exported: these are the
# ship's own settings, and the service sees only those that somebody exports.
PORT=3001
PUBLISH_PORT=0
SECURITY_MODE=htpasswd
USER_IDENTITY_HEADER=x-identity
USER_IDENTITY_COOKIE=starphleet_user
HEALTHCHECK_INIT_DELAY=60
HEALTHCHECK_PULSE=10
HEALTHCHECK_RETRY_COUNT=3
HEALTHCHECK_TIMEOUT=30
