#!/usr/bin/env bash
# Before Apache: an empty /var/www/html is filled with WordPress, and wp-config.php is written if there is none.
# The database may come later; WordPress asks for it with each request.
set -Eeuo pipefail
. /usr/local/lib/stand-in/stand-in.sh

source=/usr/src/wordpress
uid=$(id -u)
user=${APACHE_RUN_USER:-www-data} group=${APACHE_RUN_GROUP:-www-data}
user=${user#'#'} group=${group#'#'}

fill() {
  note "WordPress not found in $PWD - copying now..."
  [ -z "$(ls -A)" ] || note "$PWD is not empty; what is there stays as it is"
  local keep=()
  # What a user mounted under wp-content is theirs: a theme or a plugin that is there is not written over.
  local there
  for there in wp-content/*/*/; do
    [ ! -d "$there" ] || keep+=("--exclude=./${there%/}")
  done
  local owner=()
  [ "$uid" != 0 ] || owner=(--owner "$user" --group "$group")
  tar -C "$source" "${owner[@]}" "${keep[@]}" -cf - . | tar --skip-old-files -xf -
  note "Complete! WordPress has been successfully copied to $PWD"
}

# The keys sign the cookies: each installation gets its own.
write_config() {
  local line
  while IFS= read -r line; do
    while [[ $line == *'put your unique phrase here'* ]]; do
      line=${line/put your unique phrase here/$(head -c 48 /dev/urandom | base64 -w 0 | tr -d '=')}
    done
    printf '%s\n' "$line"
  done <"$source/wp-config-docker.php" >wp-config.php
  if [ "$uid" = 0 ]; then chown "$user:$group" wp-config.php; fi
}

case ${1:-} in
  apache2*)
    if [ "$uid" = 0 ] && [ "$(stat -c %u:%g .)" = 0:0 ]; then chown "$user:$group" .; fi
    if [ ! -e index.php ] && [ ! -e wp-includes/version.php ]; then fill; fi
    if [ ! -s wp-config.php ] && compgen -e WORDPRESS_ >/dev/null; then write_config; fi
    ;;
esac
exec "$@"
