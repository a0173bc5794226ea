<?php
// What occ, status.php and index.php share: the settings, and the database.

const SETTINGS = '/var/www/html/config/stand-in.json';

function settings(): array
{
    return is_file(SETTINGS) ? json_decode(file_get_contents(SETTINGS), true) : [];
}

function save(array $settings): void
{
    file_put_contents(SETTINGS . '.new', json_encode($settings, JSON_PRETTY_PRINT));
    rename(SETTINGS . '.new', SETTINGS);
}

function version(): string
{
    require '/var/www/html/version.php';
    return implode('.', $OC_Version);
}

// The login comes from the settings, where the installation has put it: the
// cron container gets no database variables.
function database(): PDO
{
    $s = settings()['database'];
    return new PDO("{$s['type']}:host={$s['host']};dbname={$s['name']}", $s['user'], $s['password'],
        [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_TIMEOUT => 5]);
}

function trusted(string $host): bool
{
    $name = preg_replace('/:\d+$/', '', $host);
    return in_array($name, ['localhost', '127.0.0.1', '[::1]'], true)
        || in_array($name, array_map(fn ($h) => preg_replace('/:\d+$/', '', $h), settings()['trusted_domains'] ?? []), true);
}

function refuse_strangers(): void
{
    if (!trusted($_SERVER['HTTP_HOST'] ?? '')) {
        http_response_code(400);
        exit("Access through untrusted domain (stand-in for Nextcloud)\n");
    }
}
