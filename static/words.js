// What the page says, in its language: that of <html lang>. English sentences
// stand in the code, and are the keys of words-<language>.js.

export const language = document.documentElement.lang || "en";

const words = language === "en" ? {} : (await import(`./words-${language}.js`)).default;
const plurals = new Intl.PluralRules(language);

/** The number as it is written here, with so many digits after the point. */
export const number = (value, digits = 0) =>
  value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });

const fill = (sentence, values) =>
  sentence.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name] ?? "";
    return typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 1) : value;
  });

/** The sentence, with the values at its {names}. A number that is no amount, an id say, is given as text. */
export const say = (sentence, values = {}) => fill(words[sentence] ?? sentence, values);

/** One of two sentences, whichever fits so many; {count} in them is how many. */
export function sayCount(one, many, count, values = {}) {
  const isOne = plurals.select(count) === "one";
  const [oneHere, manyHere] = words[many] ?? [one, many];
  return fill(isOne ? oneHere : manyHere, { count, ...values });
}
