// Imitates what a template and a proxy see of Ghost: its settings, its database,
// its redirect to https, its health path.
'use strict';
const fs = require('fs');
const http = require('http');
const { execFileSync } = require('child_process');

const env = process.env;
const complain = (message) => {
  console.error(`stand-in for Ghost: ${message}`);
  process.exitCode = 1;
};
console.log('STAND-IN: this is not Ghost, but an imitation for tests');

// Ghost reads `a__b` as the setting b of a.
if (!/^https?:\/\/[^/]+/.test(env.url || '')) {
  complain('the template does not give `url`, the public address, such as https://blog.example.org');
}
if (env.database__client !== 'mysql') {
  complain('the template does not give `database__client: mysql`: Ghost would try a SQLite file');
}
for (const name of ['host', 'database', 'user', 'password']) {
  if (!env[`database__connection__${name}`]) complain(`the template does not give \`database__connection__${name}\``);
}
const content = env.GHOST_CONTENT || '/var/lib/ghost/content';
if (!fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').some((line) => line.split(' ')[4] === content)) {
  complain(`the template does not mount ${content}: posts' pictures and themes would be lost with the container`);
}
try {
  fs.writeFileSync(`${content}/data/stand-in`, 'written at start\n');
} catch (error) {
  complain(`${content} cannot be written: ${error.message}`);
}
if (env.mail__transport === 'SMTP' && !env.mail__options__host) {
  complain('the template gives `mail__transport: SMTP` without `mail__options__host`');
}
if (process.exitCode) process.exit();

// The real client and the real database, with a table like Ghost's own.
const sql = (text) =>
  execFileSync('mariadb', ['--ssl', '--skip-ssl-verify-server-cert', '--connect-timeout=5',
    '-h', env.database__connection__host, '-P', env.database__connection__port || '3306',
    '-u', env.database__connection__user, env.database__connection__database, '-N', '-e', text],
  { env: { ...env, MYSQL_PWD: env.database__connection__password }, encoding: 'utf8', timeout: 20000, stdio: ['ignore', 'pipe', 'pipe'] });

let ready = false;
let title = 'Ghost (stand-in)';
const url = new URL(env.url);

const server = http.createServer((request, response) => {
  const secure = request.headers['x-forwarded-proto'] === 'https';
  // Ghost sends whoever did not come by https to its own address.
  if (url.protocol === 'https:' && !secure) {
    response.writeHead(301, { Location: url.origin + request.url });
    return response.end();
  }
  if (!ready) {
    response.writeHead(503, { 'Retry-After': '5' });
    return response.end('starting (stand-in for Ghost)\n');
  }
  if (request.url.startsWith('/ghost/api/admin/site/')) {
    response.writeHead(200, { 'Content-Type': 'application/json' });
    return response.end(JSON.stringify({ site: { title, url: `${url.origin}/`, version: '5.130' } }));
  }
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
  response.end(`<!DOCTYPE html>
<title>Stand-in for Ghost</title>
<h1>Stand-in for Ghost</h1>
<p>This is not Ghost: its software could not be had here. Mount, settings and database are as it needs them.</p>
<p>Its address: ${url.origin}/</p>
`);
});

const stop = () => server.close(() => process.exit(0)) && server.closeIdleConnections?.();
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

server.listen(Number(env.server__port || 2368), env.server__host || '0.0.0.0', () => {
  try {
    sql('create table if not exists settings (name varchar(50) primary key, value text);'
      + " insert ignore into settings values ('title', 'Ghost (stand-in)')");
    title = sql("select value from settings where name = 'title'").trim();
    ready = true;
    console.log(`stand-in for Ghost: ready, the public address is ${env.url}`);
  } catch (error) {
    console.error(`stand-in for Ghost: the database does not let us in: ${error.stderr || error.message}`);
    process.exit(2);
  }
});
