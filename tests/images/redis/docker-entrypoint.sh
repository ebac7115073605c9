#!/bin/sh
set -eu

case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" != redis-server ]; then exec "$@"; fi

# Reached through a published port only, as the official image: no protected mode unless it is asked for.
shift
set -- redis-server --protected-mode no "$@"
if [ "$(id -u)" != 0 ]; then exec "$@"; fi
chown -R redis:redis .
exec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
