#!/bin/sh
# Installs Debian's nginx for the tests of docs/deployment/nginx.conf, where this user may; says so where not, and
# never fails. It is not started as a service.
set -u
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "Installing nginx for the tests of its configuration"
	missing=$(command -v openssl >/dev/null || echo openssl)
	# A runlevel in which nothing is started.
	apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends nginx-light $missing >/dev/null && exit 0
fi
echo "No nginx here, and it cannot be installed by this user: docs/deployment/nginx.conf is not tested." >&2
exit 0
