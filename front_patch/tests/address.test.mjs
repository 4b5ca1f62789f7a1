import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SETTINGS, fromAddress, toAddress } from "../static/address.js";

const base64 = fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString("base64"));
const id = fc.nat();
const chip = fc.oneof(
  id.map((number) => ({ kind: "item", id: number })),
  fc.string().map((text) => ({ kind: "text", text })),
  base64.map((image) => ({ kind: "upload", image })),
  fc.webUrl().map((url) => ({ kind: "url", url })),
).chain((made) => fc.constantFrom(made, { ...made, minus: true }));
const bar = { kind: "bar" };
const some = fc.array(chip, { maxLength: 5 });
const chips = fc.tuple(some, some).map(([before, after]) => [...before, bar, ...after]);

const settings = fc
  .record(
    Object.fromEntries(
      Object.entries(SETTINGS).map(([name, byDefault]) => [
        name,
        typeof byDefault === "boolean" ? fc.constant(!byDefault) : fc.nat(9).map((digit) => `other ${digit}`),
      ]),
    ),
    { requiredKeys: [] },
  )
  .map((given) => ({ ...given }));

const value = fc.oneof(fc.integer(), fc.string(), fc.boolean());
const filter = fc.record({ field: fc.string(), op: fc.constantFrom("=", ">=", "contains"), value });

const state = fc.record({
  back: fc.webUrl(),
  index: fc.string(),
  query: fc.string({ unit: "grapheme" }),
  useMclip: fc.boolean(),
  settings,
  encoder: fc.option(fc.constantFrom("clip", "clip-gpt", "blend")),
  weight: fc.option(fc.integer({ min: 0, max: 20 }).map((steps) => steps / 20)),
  view: fc.constantFrom("search", "compare", "explore", "starred"),
  chips,
  captioned: fc.boolean(),
  cluster: fc.string(),
  near: fc.array(id, { maxLength: 4 }),
  filters: fc.array(filter, { maxLength: 2 }),
  item: fc.option(id),
  starred: fc.uniqueArray(id, { maxLength: 4 }),
});

const read = (address) => {
  const { search, hash } = new URL(address, "http://localhost/");
  return fromAddress(search, hash);
};

test("a link shows the page it was copied from, whatever was in the address before", () => {
  fc.assert(
    fc.property(state, state, (shown, before) => {
      const address = toAddress(shown, new URL(toAddress(before, ""), "http://localhost/").search);
      assert.deepEqual(JSON.parse(JSON.stringify(read(address))), JSON.parse(JSON.stringify(shown)));
    }),
    { numRuns: 500 },
  );
});

test("no address breaks the page", () => {
  const ours = ["encoder", "weight", "view", "chip", "near", "cluster", "item", "starred", "filter"];
  const names = [...ours, "safeMode", "aestheticScore"];
  const pairs = fc.array(fc.tuple(fc.constantFrom(...names), fc.string()));
  fc.assert(
    fc.property(pairs, fc.string(), (parameters, hash) => {
      const found = fromAddress(`?${new URLSearchParams(parameters)}`, `#${hash}`);
      assert.ok(found.weight === null || (found.weight >= 0 && found.weight <= 1));
      assert.ok([null, "clip", "clip-gpt", "blend"].includes(found.encoder));
      assert.equal(found.chips.filter(({ kind }) => kind === "bar").length, 1);
    }),
  );
});

test("uploaded images stay in the fragment, which no server sees", () => {
  const shown = { ...read("?"), chips: [{ kind: "upload", image: "c2VjcmV0" }, bar] };
  const { search, hash } = new URL(toAddress(shown, ""), "http://localhost/");
  assert.ok(!search.includes("c2VjcmV0") && hash.includes("c2VjcmV0"));
});

test("parameters that are not ours stay in the address", () => {
  assert.match(toAddress(read("?query=a"), "?theirs=1&query=b"), /theirs=1&query=a/);
});

test("links of the stock page, and our older ones, to one image open", () => {
  assert.deepEqual(read("?imageUrl=http://a/b.png").chips, [{ kind: "url", url: "http://a/b.png" }, bar]);
  assert.deepEqual(read("?index=a#image=aGlkZGVu").chips, [{ kind: "upload", image: "aGlkZGVu" }, bar]);
  const url = new URL(toAddress(read("?imageUrl=http://a/b.png"), ""), "http://localhost/");
  assert.equal(url.searchParams.get("imageUrl"), "http://a/b.png");
});
