// The page /code, for who came to it with JavaScript all the same.

import { watchSnippets } from "./snippets.js";

watchSnippets(document);
