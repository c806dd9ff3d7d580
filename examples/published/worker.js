import { Ai } from "@cloudflare/ai";

export default {
  async fetch(request, env, ctx) {
    const ai = new Ai(env.AI, { sessionOptions: { ctx: ctx } });
    const stream = await ai.run(
      "@cf/meta/llama-2-7b-chat-int8",
      { prompt: "where is new york?", stream: true },
    );
    return new Response(stream,
      { headers: { "content-type": "text/event-stream" } },
    );
  },
};
