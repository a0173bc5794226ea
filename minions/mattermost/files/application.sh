#!/bin/sh
# Runs once, when the data directory is new: a role for the application that owns its database and nothing else.
# The password is read from the environment by psql itself, so that no argument list ever shows it.
psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -v role="$APP_USER" -v database="$APP_DATABASE" <<'SQL'
\getenv password APP_PASSWORD
create role :"role" login password :'password';
create database :"database" owner :"role";
SQL
