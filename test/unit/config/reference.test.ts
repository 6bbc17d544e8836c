import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { flagOf, options } from "../../../src/config/options.ts";
import { formatJsonSchema, formatReference } from "../../../src/config/reference-page.ts";
import { load, loadFile, pems } from "./loading.ts";

const root = new URL("../../../", import.meta.url);
const example = readFileSync(new URL("example.yaml", root), "utf8");

interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

const schema = JSON.parse(formatJsonSchema()) as Schema & { readonly $schema: string };

/** All keys of a schema by path, `[]` for items. */
function* keysOf(node: Schema, path = ""): Generator<[path: string, node: Schema]> {
  for (const branch of node.anyOf ?? []) {
    yield* keysOf(branch, path);
  }
  for (const [key, value] of Object.entries(node.properties ?? {})) {
    yield [`${path}${key}`, value];
    yield* keysOf(value, `${path}${key}.`);
  }
  if (node.items !== undefined) {
    yield* keysOf(node.items, path.replace(/\.$/, "[]."));
  }
}

function typeName(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

/** As much of JSON Schema as this schema uses: where `value` breaks it. */
function* violations(node: Schema, value: unknown, path = "$"): Generator<string> {
  const { additionalProperties, anyOf, properties, items } = node;
  if (anyOf !== undefined) {
    if (anyOf.every((branch) => [...violations(branch, value)].length > 0)) {
      yield `${path}: matches nothing of anyOf`;
    }
    return;
  }
  const types = typeof node.type === "string" ? [node.type] : (node.type ?? []);
  const name = Number.isInteger(value) && types.includes("integer") ? "integer" : typeName(value);
  if (types.length > 0 && !types.includes(name)) {
    yield `${path}: is no ${types.join(" or ")}`;
    return;
  }
  if (node.enum?.includes(value) === false || (node.const !== undefined && node.const !== value)) {
    yield `${path}: is none of the values`;
  }
  if (typeof value === "string" && node.pattern !== undefined && !new RegExp(node.pattern, "u").test(value)) {
    yield `${path}: does not match`;
  }
  if (typeof value === "number" && (value < (node.minimum ?? value) || value > (node.maximum ?? value))) {
    yield `${path}: is out of bounds`;
  }
  if (Array.isArray(value) && items !== undefined) {
    for (const [index, item] of value.entries()) {
      yield* violations(items, item, `${path}[${index}]`);
    }
  }
  if (typeName(value) === "object" && typeof additionalProperties === "object") {
    for (const [key, inner] of Object.entries(value as Record<string, unknown>)) {
      yield* violations(additionalProperties, inner, `${path}.${key}`);
    }
  }
  if (typeName(value) === "object" && properties !== undefined) {
    const record = value as Record<string, unknown>;
    yield* (node.required ?? []).filter((key) => !(key in record)).map((key) => `${path}.${key}: is missing`);
    for (const [key, inner] of Object.entries(record)) {
      const property = properties[key];
      if (property === undefined) {
        yield `${path}.${key}: is unknown`;
      } else {
        yield* violations(property, inner, `${path}.${key}`);
      }
    }
  }
}

describe("example.yaml", () => {
  test("loads, and changes nothing but the list of upstreams", () => {
    const { upstreams, ...rest } = loadFile(example);
    const { upstreams: builtIn, ...defaults } = load();
    assert.deepEqual(rest, defaults);
    assert.deepEqual(upstreams[0], builtIn[0]);
    assert.deepEqual(
      upstreams.map(({ namespace, host }) => [namespace, host]),
      [
        ["docker.io", "registry-1.docker.io"],
        ...["quay.io", "gcr.io", "ghcr.io", "k8s.gcr.io", "registry.k8s.io"].map((name) => [name, name]),
      ],
    );
  });

  test("mentions every key", () => {
    for (const [path] of keysOf(schema)) {
      const key = path.split(".").at(-1) ?? "";
      assert.match(example, new RegExp(`^[\\s#-]*${key}:`, "m"), path);
    }
  });

  test("what is commented out in it would load, too", () => {
    const lines = example
      .replaceAll(/^# (admin_listen:|replicas:| {2}(?:listen|advertise|secret_file):)/gm, "$1")
      .replace(/^# layouts:\n(?:#.*\n)+/m, (block) => block.replaceAll(/^# /gm, ""))
      .replace(/^# hosted:\n(?:#.*\n)+/m, (block) => block.replaceAll(/^# /gm, ""))
      .replace("type: filesystem", "type: s3")
      .replaceAll(/^ {2}# ( *(?:- )*(?:[a-z_3]+|X-Tenant):(?: |$)|   *- (?:near|\{))/gm, "  $1");
    const env = {
      POD_IP: "10.0.0.7",
      BUCKET_KEY: "key",
      BUCKET_SECRET: "secret",
      REGISTRY_PASSWORD: "secret",
      TENANT: "one",
      NGC_KEY_1: "a",
      NGC_KEY_2: "b",
    };
    const { "/etc/ca.pem": ca = "", "client.pem": cert = "", "client.key": key = "" } = pems;
    const files = { "/etc/entrepot/ca.pem": ca, "/etc/entrepot/client.pem": cert, "/etc/entrepot/client.key": key };
    const { adminListen, hosted, layouts, storage, upstreams } = loadFile(lines, { env, files });
    assert.deepEqual([storage.s3?.bucket, storage.s3?.secretKey], ["cache", "secret"]);
    assert.ok(adminListen !== undefined);
    assert.deepEqual(
      layouts.map(({ namespace, source }) => [namespace, source]),
      [["images", { kind: "folder", path: "/srv/images" }]],
    );
    assert.deepEqual(
      hosted.map(({ namespace, retention }) => [namespace, retention[0]?.keepLast]),
      [["apps", 10]],
    );
    assert.deepEqual(
      upstreams.slice(6).map(({ namespace, accounts }) => [namespace, accounts.map(({ kind }) => kind)]),
      [
        ["registry.example.com", ["password"]],
        ["123456789012.dkr.ecr.eu-central-1.amazonaws.com", ["ecr"]],
        ["europe-docker.pkg.dev", ["gcp"]],
        ["example.azurecr.io", ["acr"]],
        ["nvcr.io", ["password", "password"]],
      ],
    );
    const [own] = upstreams.slice(6);
    assert.deepEqual(
      own?.mirrors.map(({ host }) => host),
      ["near.example.com", "10.0.0.5:5000"],
    );
    assert.deepEqual(own?.headers, { "X-Tenant": "one" });
    assert.deepEqual([...violations(schema, parse(lines))], []);
  });
});

describe("the JSON Schema", () => {
  test("is of the current draft, and describes every key", () => {
    assert.equal(schema.$schema, "https://json-schema.org/draft/2020-12/schema");
    assert.ok(new Map(keysOf(schema)).has("upstreams[].retries"));
    for (const [path, { description }] of keysOf(schema)) {
      assert.match(description ?? "", /\.(?:\*\*)?$/, path);
    }
  });

  test("takes example.yaml and every default", () => {
    assert.deepEqual([...violations(schema, parse(example))], []);
    for (const [path, node] of keysOf(schema)) {
      if (node.default !== undefined) {
        assert.deepEqual([...violations(node, node.default, path)], []);
      }
    }
  });

  const refused: unknown[] = [
    { listn: "a:1" },
    { log: { level: "loud" } },
    { upstreams: [{ namespace: "a.io" }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", retries: 1.5 }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", retries: 101 }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", idle_timeout: 10 }] },
    { shutdown_timeout: "10" },
    { upstream_defaults: { stale_if_error: "never" } },
    { allow_unlisted: "yes" },
    { upstream_defaults: { rate_limit_reserve: "110%" } },
    { upstream_defaults: { keep_deleted: "yes" } },
    { upstream_defaults: { allow: [] } },
    { upstreams: [{ namespace: "a.io", host: "a.io", credentials: "ecs" }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", credentials: { type: "ecr", region: "x" } }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", headers: { "X-Key": 1 } }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", mirrors: [{ tls: false }] }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", mirrors: [1] }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", accounts: [{ user: "u" }] }] },
    { upstreams: [{ namespace: "a.io", host: "a.io", credentials_by_repository: [{ username: "u", password: "p" }] }] },
    { storage: { type: "gcs" } },
    { storage: { type: "s3", s3: { bucket: 1 } } },
    { storage: { type: "s3", s3: { bucket: "cache", checksums: "always" } } },
    { storage: { type: "s3", s3: { bucket: "cache", part_size: 8 } } },
    { storage: { type: "s3", s3: { bucket: "cache", sse: "kms" } } },
    { storage: { type: "s3", s3: { bucket: "cache", max_sockets: 0 } } },
    { storage: { type: "s3", s3: { bucket: "cache", redirect: true } } },
    { storage: { max_size: 500 } },
    { storage: { max_size: "500" } },
    { storage: { max_size: "500Gi" } },
    { storage: { min_free: "none" } },
    { storage: { pin: "docker.io/**" } },
    { upstream_defaults: { max_size: "90%" } },
    { upstream_defaults: { prefetch: true } },
    { verify: { interval: "forever" } },
    { verify: { rate: "50MiB/h" } },
    { warm: { interval: "never" } },
    { warm: { parallel: 0 } },
  ];
  for (const value of refused) {
    test(`refuses ${JSON.stringify(value)}, as the program does`, () => {
      assert.notDeepEqual([...violations(schema, value)], []);
      assert.throws(() => loadFile(JSON.stringify(value)), { name: "ConfigError" });
    });
  }
});

describe("docs/", () => {
  const files: [string, () => string][] = [
    ["configuration.md", formatReference],
    ["config.schema.json", formatJsonSchema],
  ];
  for (const [name, format] of files) {
    test(`${name} is up to date (npm run docs)`, () => {
      assert.equal(readFileSync(new URL(`docs/${name}`, root), "utf8"), format());
    });
  }

  test("every configuration that s3.md shows would load, with its bucket", () => {
    const text = readFileSync(new URL("docs/s3.md", root), "utf8");
    const blocks = [...text.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, block = ""]) => block);
    const shown = blocks.filter((block) => /^storage:/m.test(block));
    assert.equal(shown.length, 3);
    for (const block of shown) {
      const { storage } = loadFile(block, { env: { BUCKET_KEY: "key", BUCKET_SECRET: "secret" } });
      assert.ok(storage.s3 !== undefined);
    }
  });

  test("every entry that upstreams.md shows would load", () => {
    const text = readFileSync(new URL("docs/upstreams.md", root), "utf8");
    const env = Object.fromEntries([...text.matchAll(/\$\{(\w+)\}/g)].map(([, name = ""]) => [name, "value"]));
    const { "client.pem": cert = "", "client.key": key = "" } = pems;
    const named = [...text.matchAll(/(?:ca_file|client_cert|client_key): (\S+)/g)].map(([line, path = ""]) => {
      return [path, line.startsWith("client_key") ? key : cert];
    });
    const files = Object.fromEntries(named) as Record<string, string>;
    const lists = [...text.matchAll(/^```yaml\n(.*?)^```/gms)]
      .map(([, block = ""]) => block)
      .filter((block) => /^- namespace:/m.test(block));
    assert.ok(lists.length > 5);
    for (const list of lists) {
      for (const entry of parse(list) as unknown[]) {
        assert.ok(loadFile(JSON.stringify([entry]), { env, files }).upstreams.length > 0);
      }
    }
  });

  test("the reference has every flag, variable and key", () => {
    const reference = formatReference();
    for (const option of options) {
      assert.ok(reference.includes(option.flag) && reference.includes(`\`${option.env}\``), option.name);
    }
    for (const [path] of keysOf(schema)) {
      assert.ok(reference.includes(`| \`${path.split(".").at(-1)}\` |`), path);
    }
  });
});

describe("options", () => {
  const defaults = new Map(keysOf(schema));
  for (const option of options) {
    const flag = flagOf(option);
    test(`${flag} and ${option.env} are one name, and the default in the help is true`, () => {
      const plain = flag.slice(2).replaceAll("-", "_").toUpperCase();
      const [command] = option.commands;
      assert.equal(option.env, command === undefined ? plain : `${command.toUpperCase()}_${plain}`);
      assert.equal(
        option.name,
        flag.slice(2).replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase()),
      );
      if (option.key !== undefined) {
        const value = defaults.get(option.key.join("."))?.default;
        assert.equal(option.fallback, value === undefined ? undefined : JSON.stringify(value).replaceAll('"', ""));
      }
    });
  }
});
