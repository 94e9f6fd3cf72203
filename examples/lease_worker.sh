#!/usr/bin/env bash
# A worker in bash that loses nothing when it is killed: answers `size` with the number of bytes it got. Needs redis-cli.
#
#   ./lease_worker.sh HOST:PORT
#
# Each step is a plain Redis command; README, "Services that may crash", says what each is for.
set -euo pipefail
export LC_ALL=C

[[ $# -eq 1 && $1 =~ ^(.+):([0-9]+)$ ]] || { echo "usage: lease_worker.sh HOST:PORT" >&2; exit 2; }
redis=(redis-cli -h "${BASH_REMATCH[1]}" -p "${BASH_REMATCH[2]}")
worker="bash-$$-$RANDOM$RANDOM" # new for each run
lease="rmb:lease:$worker:1:size"

# 1. A heartbeat, for as long as this process lives.
heartbeat() {
  while kill -0 $$ 2>/dev/null; do
    "${redis[@]}" SET "rmb:alive:$worker" "$(hostname)" EX 30 >/dev/null || true
    sleep 10
  done
}
"${redis[@]}" SET "rmb:alive:$worker" "$(hostname)" EX 30 >/dev/null
heartbeat </dev/null >/dev/null 2>&1 &
trap 'kill $! 2>/dev/null; "${redis[@]}" DEL "rmb:alive:$worker" >/dev/null' EXIT

# A JSON text as one word for redis-cli.
quoted() { printf "'%s'" "${1//\'/\\\'}"; }

string='"([^"\\]|\\.)*"'
while true; do
  # 2. Announce the lease list. 3. Take the oldest request: it is in one of the two lists at every instant.
  "${redis[@]}" SADD rmb:leases "$lease" >/dev/null
  request=$("${redis[@]}" BLMOVE msgbus.size "$lease" RIGHT LEFT 20)
  [[ -n $request ]] || continue
  [[ $request =~ \"ref\":\ *($string) ]] && ref=${BASH_REMATCH[1]} || ref='""'
  [[ $request =~ \"src\":\ *($string) ]] && src=${BASH_REMATCH[1]} || src='"0"'
  [[ $request =~ \"dat\":\ *\"([^\"]*)\" ]] && data=${BASH_REMATCH[1]} || data=

  size=$(base64 -d <<<"$data" | wc -c) # the work

  answer="{\"ver\":1,\"ref\":$ref,\"dat\":\"$(printf '%d' "$size" | base64)\",\"dst\":$src,\"shm\":\"application/json\",\"now\":0,\"err\":null}"
  # 4. Answer and let go in one transaction. LPUSHX pushes only if the request is still there: if it was given to somebody
  #    else meanwhile, nothing happens. LMOVE then sends the answer.
  printf '%s\n' MULTI "LPUSHX $lease $(quoted "$answer")" "LREM $lease -1 $(quoted "$request")" \
    "LMOVE $lease msgbus.system.reply LEFT LEFT" EXEC | "${redis[@]}" >/dev/null
done
