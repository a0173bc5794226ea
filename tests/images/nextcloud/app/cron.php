<?php
require __DIR__ . '/stand-in.php';
touch('/var/www/html/data/stand-in-cron');
