#!/bin/sh
# Streams an answer with curl. -N shows each piece as it comes.
set -eu

model="@cf/meta/llama-2-7b-chat-int8"

curl -N --fail-with-body -sS "${JETON_URL:-http://127.0.0.1:8000}/client/v4/accounts/local/ai/run/$model" \
  -H "Authorization: Bearer $JETON_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{ "prompt": "where is new york?", "stream": true }'
