# Makes an empty database with DocumentDB in /mnt, as user postgres in the chroot. fsync is off only here.
set -e
initdb -D /mnt -U postgres --auth=trust --encoding=UTF8 --no-sync >/dev/null
cat >>/mnt/postgresql.conf <<'CONF'
unix_socket_directories = '/mnt'
shared_preload_libraries = 'pg_cron, pg_documentdb_core, pg_documentdb'
cron.database_name = 'postgres'
cron.use_background_workers = on
cron.log_run = off
cron.log_statement = off
max_connections = 300
shared_buffers = 256MB
jit = off
CONF
pg_ctl -w -D /mnt -l /mnt/initialise.log -o "-c listen_addresses='' -c fsync=off" start >/dev/null
psql -q -h /mnt -U postgres -v ON_ERROR_STOP=1 -c 'create extension documentdb cascade' >/dev/null
pg_ctl -w -D /mnt stop >/dev/null
rm /mnt/initialise.log
sync
