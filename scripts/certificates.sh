# shellcheck shell=bash
#
# The certificates of a stack with TLS: sourced by scripts/stack, which says where ($tls) and whose ($name).
#
#   ca.pem ca.key          the stack's own authority
#   server.pem server.key  of all three servers, for the name localhost, and for no address
#   client.pem client.key  of whoever connects
#   script.pem script.key  of scripts/stack itself, which does not expire
#   password               of PostgreSQL's role ltv, RabbitMQ's guest and Redis
#
# A folder is the fact: a stack that has one is a stack with TLS.

has_tls() { [ -d "$tls" ]; }

make_tls() {
  if has_tls; then return; fi
  rm -rf "$tls.new"
  mkdir "$tls.new"
  (
    umask 077
    cd "$tls.new"
    openssl rand -hex 16 >password
    make_authority
    issue_certificates 7
  )
  mv "$tls.new" "$tls" # whole or not at all
}

make_authority() { # in the folder
  (
    umask 077
    quietly openssl req -x509 "${a_new_key[@]}" -days 3650 -subj "/CN=authority of stack $name" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
      -keyout ca.key.new -out ca.pem.new
    mv ca.key.new ca.key
    mv ca.pem.new ca.pem
    issue script 3650 extendedKeyUsage=clientAuth
  )
}

a_new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

# Each file at once by a rename: a client that looks in between finds the old or the new one.
issue_certificates() { # DAYS; in the folder
  (
    umask 077
    issue server "$1" "subjectAltName=DNS:localhost" extendedKeyUsage=serverAuth
    issue client "$1" extendedKeyUsage=clientAuth
  )
}

issue() { # WHOSE DAYS EXTENSION...
  local whose=$1 days=$2 subject=localhost
  shift 2
  [ "$whose" = server ] || subject=ltv
  # Not even for today: they have expired.
  ((days > 0)) || days=-1
  quietly openssl req -new "${a_new_key[@]}" -subj "/CN=$subject" -keyout "$whose.key.new" -out "$whose.csr"
  printf '%s\n' basicConstraints=critical,CA:FALSE "$@" >"$whose.ext"
  quietly openssl x509 -req -in "$whose.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" \
    -extfile "$whose.ext" -out "$whose.pem.new"
  rm "$whose.csr" "$whose.ext"
  mv "$whose.key.new" "$whose.key"
  mv "$whose.pem.new" "$whose.pem"
}

# Those that do not last another day are renewed when the servers are started.
certificates_last() { openssl x509 -noout -checkend 86400 -in "$tls/server.pem" >/dev/null; }

quietly() {
  local said
  said=$("$@" 2>&1) || { echo "$said" >&2; return 1; }
}

# --- what the servers are told ------------------------------------------------------------------

# PostgreSQL's own user may not be able to enter the stack's folder.
give_postgres_certificates() {
  local file
  for file in server.pem server.key ca.pem; do
    cp "$tls/$file" "$pg_data/$file.new"
    if ((EUID == 0)); then chown postgres: "$pg_data/$file.new"; fi
    chmod 600 "$pg_data/$file.new"
    mv "$pg_data/$file.new" "$pg_data/$file"
  done
}

postgres_tls() {
  cat <<'CONF'
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.pem'
password_encryption = 'scram-sha-256'
CONF
}

# Nobody without a certificate; the superuser by that alone.
postgres_tls_access() {
  echo "hostssl all postgres 127.0.0.1/32 trust clientcert=verify-ca"
  echo "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca"
}

rabbitmq_tls() {
  cat <<CONF
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:$(port_of rabbitmq)
ssl_options.cacertfile = $tls/ca.pem
ssl_options.certfile = $tls/server.pem
ssl_options.keyfile = $tls/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
default_pass = $(<"$tls/password")
CONF
}

redis_tls() {
  cat <<CONF
port 0
tls-port $(port_of redis)
tls-cert-file $tls/server.pem
tls-key-file $tls/server.key
tls-ca-cert-file $tls/ca.pem
tls-auth-clients yes
requirepass $(<"$tls/password")
CONF
}

take_certificates_postgres() {
  give_postgres_certificates
  kill -HUP "$(running_pid postgres)"
}
take_certificates_rabbitmq() { rabbitmqctl eval 'ssl:clear_pem_cache().' >/dev/null; }
# Redis reads the files when it is told their names, also if they are those that it knows.
take_certificates_redis() {
  local files=(tls-cert-file "$tls/server.pem" tls-key-file "$tls/server.key" tls-ca-cert-file "$tls/ca.pem")
  [ "$(redis config set "${files[@]}")" = OK ]
}

# --- what clients are told ----------------------------------------------------------------------

own_secured_place() { # SERVICE PORT
  case $1 in
    postgres) echo "postgresql://ltv@localhost:$2/ltv" ;;
    rabbitmq) echo "amqps://guest@localhost:$2" ;;
    redis) echo "rediss://localhost:$2" ;;
  esac
}

secured_query() {
  echo "sslmode=verify-full&sslrootcert=$tls/ca.pem&sslcert=$tls/client.pem&sslkey=$tls/client.key&password_file=$tls/password"
}
