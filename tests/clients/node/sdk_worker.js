// A Worker that asks env.AI through one of the SDK's generations, as its request says; "none" is the binding itself.

import { Ai as Ai_1_0_28 } from "@cloudflare/ai";
import { Ai as Ai_1_0_53 } from "cloudflare-ai-1.0.53";
import { Ai as Ai_1_1_0 } from "cloudflare-ai-1.1.0";
import { Ai as Ai_1_2_2 } from "cloudflare-ai-1.2.2";

const SDKS = { "1.0.28": Ai_1_0_28, "1.0.53": Ai_1_0_53, "1.1.0": Ai_1_1_0, "1.2.2": Ai_1_2_2 };

export default {
  async fetch(request, env, ctx) {
    const { sdk, binding, model, inputs, models } = await request.json();
    const ai = sdk === "none" ? env[binding] : new SDKS[sdk](env[binding], { sessionOptions: { ctx } });
    try {
      const answer = models ? await ai.models(models) : await ai.run(model, inputs);
      if (answer instanceof ReadableStream) {
        return new Response(answer, { headers: { "content-type": "text/event-stream" } });
      }
      return Response.json({ answer, request_id: env[binding].lastRequestId });
    } catch (error) {
      const { name, message, httpCode } = error;
      return Response.json({ name, message, httpCode, status: env[binding].lastRequestHttpStatusCode }, { status: 500 });
    }
  },
};
