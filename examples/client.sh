#!/usr/bin/env bash
# A client in bash: asks a twin through the gateway on this Redis and prints the answer. Needs no redis-cli.
#
#   ./client.sh HOST:PORT TWIN COMMAND [DATA]
#
# Exit code: 0 answered, 1 error answer or no Redis, 2 wrong usage, 3 no answer within 30 seconds.
set -euo pipefail
export LC_ALL=C # lengths are bytes

lifetime_s=30

usage() {
  echo "usage: client.sh HOST:PORT TWIN COMMAND [DATA]" >&2
  exit 2
}

# Send one command in the Redis protocol, whatever its words contain.
send() {
  printf '*%d\r\n' "$#" >&3
  local word
  for word in "$@"; do printf '$%d\r\n%s\r\n' "${#word}" "$word" >&3; done
}

# Read one line of a reply, without its line end.
read_line() {
  IFS= read -r -t "$((lifetime_s + 5))" line <&3 || { echo "Redis does not answer" >&2; exit 1; }
  line=${line%$'\r'}
  if [[ $line == -* ]]; then echo "Redis: ${line#-}" >&2; exit 1; fi
}

[[ $# -eq 3 || $# -eq 4 ]] || usage
[[ $1 =~ ^(.+):([0-9]+)$ ]] || usage
host=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}
[[ $2 =~ ^[1-9][0-9]*$ && $3 =~ ^[A-Za-z0-9_.-]+$ ]] || usage
list="answers.$$.$RANDOM$RANDOM" # nobody else waits on this list
data=$(printf '%s' "${4-}" | base64 | tr -d '\n')

{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || { echo "no Redis at $1" >&2; exit 1; }
send LPUSH msgbus.system.local "{\"ver\":1,\"cmd\":\"$3\",\"exp\":$lifetime_s,\"dat\":\"$data\",\"dst\":[$2],\"ret\":\"$list\",\"shm\":\"application/json\",\"now\":0}"
read_line # how long the list is now
send BLPOP "$list" "$lifetime_s"
read_line
if [[ $line == '*-1' ]]; then
  echo "no answer within $lifetime_s s" >&2
  exit 3
fi
read_line # $<bytes>
read_line # the name of the list
read_line # $<bytes>
read_line # the answer: JSON on one line
send DEL "$list"
if [[ $line =~ \"err\":(\{.*\}) ]]; then
  echo "error ${BASH_REMATCH[1]}" >&2
  exit 1
fi
[[ $line =~ \"dat\":\"([A-Za-z0-9+/=]*)\" ]] || { echo "no answer that can be read: $line" >&2; exit 1; }
printf '%s' "${BASH_REMATCH[1]}" | base64 -d
