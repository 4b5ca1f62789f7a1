import assert from "node:assert/strict";
import { test } from "node:test";

import { unknownText } from "../static/unknown.js";

test("one unknown word is named", () => {
  assert.equal(
    unknownText(["Eiffel"]),
    "The model does not know “Eiffel”: its training texts do not have it.",
  );
});

test("several unknown words are listed", () => {
  assert.match(unknownText(["a", "b", "c"]), /“a”, “b” and “c”: its training texts do not have them/);
});
