import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { test } from "node:test";
import { createClock } from "../scripted.ts";

test("a cloud's client library is loaded when credentials are asked for, not before", async (context) => {
  const loaded: string[] = [];
  const hooks = registerHooks({
    resolve(specifier, resolving, next) {
      if (/^@aws-sdk\/|^@azure\/|^google-auth-library/.test(specifier)) {
        loaded.push(specifier);
        throw new Error("not here");
      }
      return next(specifier, resolving);
    },
  });
  context.after(() => hooks.deregister());
  const { createEcr } = await import("../../../../src/upstream/credentials/ecr.ts");
  const { createGcp } = await import("../../../../src/upstream/credentials/gcp.ts");
  const { createAcr } = await import("../../../../src/upstream/credentials/acr.ts");
  const { parseRepository } = await import("../../../../src/oci/reference.ts");
  const clock = createClock();
  const fetchJson = (): Promise<never> => Promise.reject(new Error("nothing is sent"));
  const sources = [
    createEcr({ host: "012345678901.dkr.ecr.eu-central-1.amazonaws.com", clock, fetchJson }),
    createGcp({ host: "gcr.io", clock }),
    createAcr({ host: "example.azurecr.io", clock, fetchJson }),
  ];
  assert.deepEqual(loaded, []);
  const signal = new AbortController().signal;
  for (const source of sources) {
    await assert.rejects(source.get(parseRepository("app"), signal), { name: "CredentialError" });
  }
  assert.deepEqual(loaded, ["@aws-sdk/client-ecr", "google-auth-library", "@azure/identity"]);
});
