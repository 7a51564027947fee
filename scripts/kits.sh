#!/usr/bin/env bash
# Runs the conformance kit against a binary: kits.sh KITS_FOLDER PYTHON_ENV_FOLDER BINARY
# Prints the plain sum of all of them as its last line.
set -uo pipefail
kits=$1 python=$2/bin/python binary=$3 here=$(cd "$(dirname "$0")" && pwd)
if [ ! -d "$kits/conformance" ]; then
  echo "no conformance kit at $kits: nothing to run"
  exit 0
fi
work=$(mktemp -d)
passed=0 failed=0 meant=0
trap 'kill "${server:-}" 2>/dev/null; rm -rf "$work"' EXIT

# Runs one kit and adds up its closing line "N passed, N failed". Failures that are listed in kits_known.txt are meant.
kit() {
  echo "== $*"
  local out="$work/out" report="$work/report.json"
  rm -f "$report"
  ( cd "$kits/conformance" && "$python" "$@" --json "$report" ) >"$out" 2>&1
  local code=$? line known
  grep -vE '^ok ' "$out" | tail -n 40
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$out" | tail -n 1)
  if [ -z "$line" ]; then
    echo "the kit ended with $code and no closing line"
    failed=$((failed + 1))
    return
  fi
  known=$("$python" "$here/kits_known.py" "$1" "$report" "$here/kits_known.txt") || failed=$((failed + 1))
  [ "$known" = 0 ] || echo "$known of these differences are meant: scripts/kits_known.txt says why"
  passed=$((passed + $(cut -d' ' -f1 <<<"$line")))
  failed=$((failed + $(cut -d' ' -f3 <<<"$line") - known))
  meant=$((meant + known))
}

start="$binary serve --data {dir} --http 127.0.0.1:{port} --otlp-http off --otlp-grpc off --retention 100y"
kit crash.py --start-cmd "$start" --mode kill --kills 10 --min-up 0.5 --max-up 2
kit crash.py --start-cmd "$start" --mode corrupt --min-up 0.5 --max-up 2
if [ "$(id -u)" = 0 ] && mount -t tmpfs tmpfs "$work" 2>/dev/null; then
  umount "$work"
  kit crash.py --start-cmd "$start" --mode powercut --kills 3 --min-up 0.5 --max-up 2
  kit crash.py --start-cmd "$start" --mode fulldisk
else
  echo "== power-cut and full-disk modes need root and mount: left out here"
fi

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http=$(free_port) grpc=$(free_port)
"$binary" serve --retention 100y --data "$work/data" --http "127.0.0.1:$http" --otlp-http off --otlp-grpc "127.0.0.1:$grpc" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 200); do
  curl -fs "http://127.0.0.1:$http/ready" >/dev/null && break
  sleep 0.1
done
kit otlp_clients.py --url "http://127.0.0.1:$http" --grpc "127.0.0.1:$grpc" --signals logs,metrics
kit promql_suite.py --url "http://127.0.0.1:$http"
kit logql_diff.py --url "http://127.0.0.1:$http" --golden logql_golden.json.gz

echo "$passed passed, $failed failed, $meant differences that are meant"
[ "$failed" = 0 ]
