import { assertEquals } from "@std/assert";
import { readAddress, writeAddress } from "../../explorer/state/address.ts";
import { requests, storeRequest } from "../../explorer/state/requests.ts";
import { initialState } from "../../explorer/state/state.ts";
import type { FromStore, StoredModel } from "../../explorer/messages.ts";
import type { Action } from "../../explorer/state/actions.ts";
import { after, FACTS, openState, told } from "../support/explorer_states.ts";

const NAMES = { large: "org/large", small: " hf:org/small " };
const SOURCE = { kind: "hub", large: "hf:org/large", small: "hf:org/small" } as const;

function hubTold(message: FromStore): Action {
  return { kind: "hubTold", message };
}

function stored(reference: string, isWhole = true): StoredModel {
  return { reference, commit: "0", byteLength: 9, heldBytes: isWhole ? 9 : 5, isWhole };
}

Deno.test("models of the hub are fetched, then opened", () => {
  const typed = after(openState(), { kind: "hubEdit", change: NAMES });
  assertEquals(storeRequest(openState(), typed), undefined, "typing asks nobody");
  const asked = after(typed, { kind: "hubOpen" });
  const references = [SOURCE.large, SOURCE.small];
  assertEquals(storeRequest(typed, asked), {
    kind: "fetch",
    references,
    hub: "https://huggingface.co",
  });
  assertEquals(after(asked, { kind: "hubOpen" }), asked, "once at a time");
  const done = after(asked, hubTold({ kind: "fetched", references }));
  assertEquals([done.pair.opening, done.hub.fetching], [SOURCE, undefined]);
  assertEquals(requests(asked, done)[0]?.kind, "open");
});

Deno.test("models that are stored are opened without asking anybody", () => {
  const models = [stored("hf:org/large"), stored("hf:org/small")];
  const state = after(
    openState(),
    hubTold({ kind: "stored", models }),
    { kind: "hubEdit", change: NAMES },
    { kind: "hubOpen" },
  );
  assertEquals([state.pair.opening, state.hub.asked], [SOURCE, undefined]);
  const part = after(
    openState(),
    hubTold({ kind: "stored", models: [models[0]!, stored("hf:org/small", false)] }),
    { kind: "hubEdit", change: NAMES },
    { kind: "hubOpen" },
  );
  assertEquals(part.hub.asked?.kind, "fetch");
});

Deno.test("a download that stops or fails leaves what was open", () => {
  const asked = after(openState(), { kind: "hubEdit", change: NAMES }, { kind: "hubOpen" });
  const stopped = after(asked, { kind: "hubStop" }, hubTold({ kind: "stopped" }));
  assertEquals([stopped.hub.fetching, stopped.hub.fault], [undefined, undefined]);
  const failed = after(asked, hubTold({ kind: "storeFailed", message: "Cannot keep it" }));
  assertEquals([failed.hub.fault, failed.pair.facts], ["Cannot keep it", FACTS]);
  assertEquals(after(failed, { kind: "hubOpen" }).hub.fault, undefined);
});

Deno.test("an address names models of the hub, and what is not stored gives way to the embedded pair", () => {
  const asked = after(openState(), { kind: "hubEdit", change: NAMES }, { kind: "hubOpen" });
  const references = [SOURCE.large, SOURCE.small];
  const facts = { ...FACTS, isEmbedded: false };
  const open = after(
    asked,
    hubTold({ kind: "fetched", references }),
    told({ kind: "opened", pair: facts }),
  );
  const wanted = readAddress(writeAddress(open));
  assertEquals(wanted.source, SOURCE);
  assertEquals(readAddress("large=https://elsewhere/x").source, undefined);
  const fresh = initialState("embedded/", wanted);
  assertEquals([fresh.pair.opening, fresh.hub.asked], [SOURCE, undefined], "nothing is fetched");
  const message = "Cannot open hf:org/large";
  const failed = after(fresh, told({ kind: "failed", request: "open", message }));
  assertEquals(failed.pair.opening, { kind: "embedded", address: "embedded/" });
  const other = after(failed, told({ kind: "opened", pair: FACTS }));
  assertEquals([other.fault, other.asked, other.hub.large], [message, "start", "hf:org/large"]);
});
