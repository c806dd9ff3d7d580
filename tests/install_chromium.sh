#!/bin/sh
# Installs Debian's Chromium for the browser tests, where this user may; says so where not, and never fails.
set -u
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "Installing Chromium for the browser tests"
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null && exit 0
fi
cat >&2 <<'TEXT'
************************************************************************
  No Chromium here, and it cannot be installed by this user:
  THE BROWSER TESTS ARE LEFT OUT.
  On Debian or Ubuntu: sudo apt-get install chromium
************************************************************************
TEXT
exit 0
