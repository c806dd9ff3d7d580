#!/bin/sh
# Installs the clients that tests/clients runs: those for Python into .venv/clients, those for Node.js beside their
# package.json. Says so where it cannot, and never fails.
set -u
cd "$(dirname "$0")/.."

leave_out() {
	cat >&2 <<TEXT
************************************************************************
  $1:
  THE TESTS WITH THE CLIENTS FOR $2 ARE LEFT OUT.
************************************************************************
TEXT
}

# A stamp holds the list it was made from.
if ! cmp -s tests/clients/requirements.txt .venv/clients/installed; then
	echo "Installing the clients for Python (about half a minute)"
	if .venv/bin/python -m venv .venv/clients &&
		.venv/clients/bin/python -m pip install -q --disable-pip-version-check --no-deps -r tests/clients/requirements.txt; then
		cp tests/clients/requirements.txt .venv/clients/installed
	else
		leave_out "The clients for Python cannot be installed" PYTHON
	fi
fi

if ! command -v npm >/dev/null; then
	leave_out "No Node.js 20 or newer, with npm, on this machine" NODE.JS
elif ! cmp -s tests/clients/node/package-lock.json tests/clients/node/node_modules/installed; then
	echo "Installing the clients for Node.js (about half a minute)"
	if npm --prefix tests/clients/node ci --no-audit --no-fund --ignore-scripts --loglevel error; then
		cp tests/clients/node/package-lock.json tests/clients/node/node_modules/installed
	else
		leave_out "The clients for Node.js cannot be installed" NODE.JS
	fi
fi
exit 0
