<?php
require __DIR__ . '/stand-in.php';
refuse_strangers();
$installed = false;
try {
    $installed = database()->query('select count(*) from oc_users')->fetchColumn() > 0;
} catch (Throwable $e) {
    error_log('stand-in for Nextcloud: ' . $e->getMessage());
    http_response_code(503);
}
header('Content-Type: application/json');
echo json_encode([
    'installed' => $installed,
    'maintenance' => settings()['maintenance'] ?? false,
    'needsDbUpgrade' => false,
    'version' => version(),
    'versionstring' => implode('.', array_slice(explode('.', version()), 0, 3)),
    'edition' => '',
    'productname' => 'Nextcloud (stand-in)',
    'extendedSupport' => false,
]);
