<?php
require __DIR__ . '/stand-in.php';
refuse_strangers();
if (settings()['maintenance'] ?? false) {
    http_response_code(503);
}
header('Content-Type: text/html; charset=utf-8');
$proto = getenv('OVERWRITEPROTOCOL') ?: 'http';
?>
<!DOCTYPE html>
<title>Stand-in for Nextcloud</title>
<h1>Stand-in for Nextcloud</h1>
<p>This is not Nextcloud: its software could not be had here. Mounts, settings, database and cache are as it needs them.</p>
<p>Its address: <?= htmlspecialchars($proto . '://' . $_SERVER['HTTP_HOST']) ?>/</p>
