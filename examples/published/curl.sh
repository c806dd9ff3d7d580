curl -X POST \
  "https://api.cloudflare.com/client/v4/accounts/<account>/ai/run/@cf/meta/llama-2-7b-chat-int8" \
  -H "Authorization: Bearer <token>" \
  -H "Content-Type:application/json" \
  -d '{ "prompt": "where is new york?", "stream": true }'
