<?php
$OC_Version = [31, 0, 8, 1];
