#!/bin/sh
# Brings the wiki up by itself: installs it when it is new, updates its tables when the image is newer, then serves it.
# What lasts is in the volume `config` (LocalSettings.php, your own extensions and skins) and in `images`.
set -eu

html=/var/www/html
config=/var/www/config
cd "$html"

say() { echo "summoner: $*"; }
as_web() { setpriv --reuid=www-data --regid=www-data --init-groups "$@"; }
has_pgsql() { php -m | grep -qx pgsql; }

# The official image has no PostgreSQL driver. It has what is needed to build one, which takes a minute and the
# network; the result is kept in the volume, so that it happens once for each release of PHP.
if ! has_pgsql; then
    kept="$config/php/$(php -r 'echo PHP_VERSION, "-", php_uname("m");')"
    extensions=$(php -r 'echo ini_get("extension_dir");')
    if [ -f "$kept/pgsql.so" ]; then
        cp "$kept/pgsql.so" "$extensions/"
        cp "$kept"/libpq.so.5 /usr/local/lib/
        ldconfig
        docker-php-ext-enable pgsql
    fi
    if ! has_pgsql; then
        say "building the PostgreSQL driver of PHP, once; this needs the network and a minute or two"
        rm -rf "$kept" "$extensions/pgsql.so" /usr/local/lib/libpq.so.5
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends libpq-dev >/dev/null
        docker-php-ext-install pgsql >/dev/null
        has_pgsql || { say "the PostgreSQL driver does not load"; exit 1; }
        mkdir -p "$kept"
        cp "$extensions/pgsql.so" "$kept/"
        cp -L "$(ldconfig -p | sed -n 's/.*libpq\.so\.5 .*=> //p' | head -n 1)" "$kept/libpq.so.5"
    fi
fi

# Extensions and skins of your own: folders in the volume, linked in beside the bundled ones.
for kind in extensions skins; do
    as_web mkdir -p "$config/$kind"
    for folder in "$config/$kind"/*/; do
        name=$(basename "$folder")
        [ -d "$folder" ] && [ ! -e "$kind/$name" ] && ln -s "${folder%/}" "$kind/$name"
    done
done

# 1.40 and later start every script through run.php.
maintenance() {
    script=$1
    shift
    if [ -f maintenance/run.php ]; then
        as_web php maintenance/run.php "$script" "$@"
    else
        as_web php "maintenance/$script.php" "$@"
    fi
}

version=$(sed -n "s/^define( 'MW_VERSION', '\(.*\)' );.*/\1/p" includes/Defines.php)

# There while an installation is under way. Found at the start, it tells of one that was cut off.
installing="$config/installing"
cut_off=no
if [ -e "$installing" ]; then cut_off=yes; fi

if [ ! -s "$config/LocalSettings.php" ]; then
    say "installing MediaWiki $version"
    as_web touch "$installing"
    # Passwords reach the installer by files in memory, never as arguments.
    secrets=$(mktemp -d -p /dev/shm)
    trap 'rm -rf "$secrets"' EXIT
    printf %s "$MEDIAWIKI_DB_PASSWORD" >"$secrets/db"
    printf %s "$MEDIAWIKI_ADMIN_PASSWORD" >"$secrets/admin"
    chown -R www-data "$secrets"

    # Bundled extensions that need no program and no service beside them.
    wanted=
    for name in CategoryTree Cite CiteThisPage ImageMap InputBox Interwiki Nuke ParserFunctions TemplateData \
        VisualEditor WikiEditor; do
        [ -f "extensions/$name/extension.json" ] && wanted="$wanted,$name"
    done

    # The settings appear under their name only when everything went well.
    rm -rf "$config"/install.*
    fresh=$(as_web mktemp -d "$config/install.XXXXXX")
    maintenance install \
        --dbtype postgres --dbserver "$MEDIAWIKI_DB_HOST" --dbport 5432 \
        --dbname "$MEDIAWIKI_DB_NAME" --dbuser "$MEDIAWIKI_DB_USER" --dbpassfile "$secrets/db" \
        --server "$MEDIAWIKI_URL" --scriptpath "" --lang "$MEDIAWIKI_LANGUAGE" \
        --extensions "${wanted#,}" --confpath "$fresh" --passfile "$secrets/admin" \
        "$MEDIAWIKI_NAME" "$MEDIAWIKI_ADMIN_USER"
    rm -rf "$secrets"
    trap - EXIT

    # The password stays in the environment.
    sed -i '/^\$wgDBpassword = /d' "$fresh/LocalSettings.php"
    cat >>"$fresh/LocalSettings.php" <<'EOF'

# What config.yml says: address, name, database and its password, who may read.
if ( is_file( '/summoner/settings.php' ) ) {
	require '/summoner/settings.php';
}

# Your own settings go below this line. They have the last word.
EOF
    chmod 0640 "$fresh/LocalSettings.php"
    as_web sh -c 'echo "$1" >"$2"' - "$version" "$config/version"
    as_web mv "$fresh/LocalSettings.php" "$config/LocalSettings.php"
    as_web rmdir "$fresh"
fi

ln -sfn "$config/LocalSettings.php" LocalSettings.php

if [ "$(cat "$config/version" 2>/dev/null)" != "$version" ]; then
    say "updating the tables to MediaWiki $version"
    maintenance update --quick
    as_web sh -c 'echo "$1" >"$2"' - "$version" "$config/version"
fi

# The installer makes the administrator in several steps, and skips one that it finds half made.
if [ $cut_off = yes ]; then
    say "finishing the administrator's account"
    maintenance eval >/dev/null <<'EOF'
$services = MediaWiki\MediaWikiServices::getInstance();
$admin = $services->getUserFactory()->newFromName( getenv( 'MEDIAWIKI_ADMIN_USER' ) );
$admin->isRegistered() || $admin->addToDatabase();
$new = [ 'username' => $admin->getName(), 'password' => getenv( 'MEDIAWIKI_ADMIN_PASSWORD' ) ];
$admin->changeAuthenticationData( $new + [ 'retype' => $new['password'] ] );
foreach ( [ 'sysop', 'bureaucrat', 'interface-admin' ] as $group ) { $services->getUserGroupManager()->addUserToGroup( $admin, $group ); }
EOF
fi
rm -f "$installing"

exec apache2-foreground
