#!/usr/bin/env bash
# backup.sh STATE_DIR TARGET_DIR: one encrypted archive of what a mesh on one machine cannot make again: the gateway's
# database (copied online, while the gateway writes), the admin key and the configuration. Models and spans are not in it.
#
#   WEFT_BACKUP_PASSPHRASE_FILE  file with the passphrase (needed)
#   WEFT_BACKUP_CONFIG           a configuration file to include (default: none)
#   WEFT_BACKUP_KEEP_DAYS        older archives in TARGET_DIR are removed (default: 30; 0 keeps all)
#
# Prints the archive's path. It appears whole or not at all. Needs python3 (its sqlite3), openssl and tar.
set -euo pipefail
umask 077

die() { echo "backup: $*" >&2; exit 1; }

(($# == 2)) || die "usage: backup.sh STATE_DIR TARGET_DIR"
state=$1 target=$2
passphrase=${WEFT_BACKUP_PASSPHRASE_FILE:-}
keep_days=${WEFT_BACKUP_KEEP_DAYS:-30}
[[ -s $passphrase ]] || die "WEFT_BACKUP_PASSPHRASE_FILE: no passphrase in '$passphrase'"
[[ -f $state/gateway.db ]] || die "there is no gateway.db in $state"
[[ $keep_days =~ ^[0-9]+$ ]] || die "WEFT_BACKUP_KEEP_DAYS: not a number: '$keep_days'"
mkdir -p "$target"

work=$(mktemp -d "$target/.weft-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/content"

python3 - "$state/gateway.db" "$work/content/gateway.db" <<'PYTHON' || die "cannot copy the database"
import sqlite3, sys
source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=30)
copy = sqlite3.connect(sys.argv[2])
source.backup(copy)
result = copy.execute("PRAGMA integrity_check").fetchone()[0]
if result != "ok":
    sys.exit(f"the copy is damaged: {result}")
copy.execute("PRAGMA journal_mode=DELETE")
copy.close()
PYTHON
if [[ -f $state/admin.key ]]; then cp "$state/admin.key" "$work/content/"; fi
if [[ -n ${WEFT_BACKUP_CONFIG:-} ]]; then cp "$WEFT_BACKUP_CONFIG" "$work/content/weft.yaml"; fi
(cd "$work/content" && sha256sum -- * >SHA256SUMS)

name=weft-$(date -u +%Y%m%dT%H%M%SZ)-$$.tar.gz.enc
tar -C "$work/content" -czf - . |
  openssl enc -aes-256-cbc -pbkdf2 -iter 200000 -salt -pass "file:$passphrase" -out "$work/$name"
sync "$work/$name"
mv "$work/$name" "$target/$name"
if ((keep_days)); then
  find "$target" -maxdepth 1 -name 'weft-*.tar.gz.enc' -mtime "+$keep_days" -delete
fi
echo "$target/$name"
