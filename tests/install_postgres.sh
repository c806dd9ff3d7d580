#!/bin/sh
# Installs Debian's PostgreSQL for the tests of it as the database, where this user may; says so where not, and
# never fails. No cluster is made, and nothing is started.
set -u
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "Installing PostgreSQL for the tests of it as the database"
	mkdir -p /etc/postgresql-common/createcluster.d
	echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/no-main-cluster.conf
	apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends postgresql >/dev/null && exit 0
fi
echo "No PostgreSQL here, and it cannot be installed by this user: DATABASE_URL=postgresql://… is not tested." >&2
exit 0
