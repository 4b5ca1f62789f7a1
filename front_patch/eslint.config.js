import js from "@eslint/js";
import globals from "globals";

const rules = {
  curly: ["error", "multi-line"],
  eqeqeq: "error",
  "max-len": ["error", { code: 120 }],
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
};

export default [
  js.configs.recommended,
  { files: ["static/**/*.js"], languageOptions: { globals: globals.browser }, rules },
  { files: ["tests/**/*.mjs"], languageOptions: { globals: globals.node }, rules },
];
