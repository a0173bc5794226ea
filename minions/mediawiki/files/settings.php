<?php
# The part of the wiki's settings that config.yml decides. LocalSettings.php reads it, and what stands
# below that line in LocalSettings.php wins.

if ( !defined( 'MEDIAWIKI' ) ) {
	exit;
}

$wgServer = getenv( 'MEDIAWIKI_URL' );
$wgCanonicalServer = $wgServer;
$wgSitename = getenv( 'MEDIAWIKI_NAME' );
$wgScriptPath = '';
$wgArticlePath = '/wiki/$1';
$wgUsePathInfo = true;

$wgDBserver = getenv( 'MEDIAWIKI_DB_HOST' );
$wgDBname = getenv( 'MEDIAWIKI_DB_NAME' );
$wgDBuser = getenv( 'MEDIAWIKI_DB_USER' );
$wgDBpassword = getenv( 'MEDIAWIKI_DB_PASSWORD' );

# The proxy is the only one that can reach this container; it tells who the visitor is.
$wgCdnServersNoPurge = [ '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7' ];
$wgUsePrivateIPs = true;

$wgEnableUploads = true;
$wgMainCacheType = CACHE_ACCEL;
$wgSessionCacheType = CACHE_DB;

if ( getenv( 'MEDIAWIKI_PRIVATE' ) === '1' ) {
	$wgGroupPermissions['*']['read'] = false;
	$wgGroupPermissions['*']['edit'] = false;
	# Files go the way of the pages: only to who is signed in. Apache refuses the direct way.
	$wgUploadPath = '/img_auth.php';
}
if ( getenv( 'MEDIAWIKI_SIGN_UP' ) !== '1' ) {
	$wgGroupPermissions['*']['createaccount'] = false;
}
