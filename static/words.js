// What the page says, in its language.

/** The sentence, with the values at its {names}. */
export const say = (sentence, values = {}) => sentence.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
