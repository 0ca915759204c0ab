#!/usr/bin/env bash
# restore.sh ARCHIVE STATE_DIR: puts what backup.sh saved back into the state directory of a mesh that does not run.
# Everything is decrypted and checked before the first file is touched; what was there is kept as NAME.before-restore.
# WEFT_BACKUP_PASSPHRASE_FILE as for backup.sh.
set -euo pipefail
umask 077

die() { echo "restore: $*" >&2; exit 1; }

(($# == 2)) || die "usage: restore.sh ARCHIVE STATE_DIR"
archive=$1 state=$2
passphrase=${WEFT_BACKUP_PASSPHRASE_FILE:-}
[[ -s $passphrase ]] || die "WEFT_BACKUP_PASSPHRASE_FILE: no passphrase in '$passphrase'"
[[ -f $archive ]] || die "there is no $archive"
mkdir -p "$state"
exec 9>>"$state/.restore.lock"
flock -n 9 || die "another restore into $state is running"

work=$(mktemp -d "$state/.restore-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/content"
openssl enc -d -aes-256-cbc -pbkdf2 -iter 200000 -pass "file:$passphrase" -in "$archive" -out "$work/archive.tar.gz" 2>/dev/null ||
  die "$archive: the passphrase is another one, or the file is damaged"
tar -C "$work/content" -xzf "$work/archive.tar.gz" 2>/dev/null || die "$archive: the file is damaged"
(cd "$work/content" && sha256sum --quiet --strict -c SHA256SUMS >&2) || die "$archive: a file in it is damaged"
[[ -f $work/content/gateway.db ]] || die "$archive: holds no gateway.db"

# A write-ahead log of the old database must not be played into the restored one.
for file in gateway.db gateway.db-wal gateway.db-shm admin.key; do
  if [[ -e $state/$file ]]; then mv -f "$state/$file" "$state/$file.before-restore"; fi
done
for file in gateway.db admin.key; do
  if [[ -f $work/content/$file ]]; then
    sync "$work/content/$file"
    mv -f "$work/content/$file" "$state/$file"
  fi
done
if [[ -f $work/content/weft.yaml ]]; then mv -f "$work/content/weft.yaml" "$state/weft.yaml.restored"; fi
echo "restored into $state"
