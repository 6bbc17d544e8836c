import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parse, type TomlTable } from "smol-toml";
import { addMirror, type MirrorHost } from "../../../src/nodes/hosts-file.ts";
import { findParts, takeOut, withoutParts } from "../../../src/nodes/owned-part.ts";

const mirror = "http://127.0.0.1:6500";
const noCertificates = { ca: [], client: [] };

function add(current: string | undefined, wanted: Partial<MirrorHost> = {}): string {
  const after = addMirror(current, { owner: "a", mirror, certificates: noCertificates, made: ["file"], ...wanted });
  return "text" in after ? after.text : assert.fail(after.why);
}

function refusal(current: string, wanted: Partial<MirrorHost> = {}): string {
  const after = addMirror(current, { owner: "a", mirror, certificates: noCertificates, made: ["file"], ...wanted });
  return "why" in after ? after.why : assert.fail(after.text);
}

function remove(text: string, owner = "a"): string {
  const own = takeOut(text, owner);
  return "rest" in own ? own.rest : assert.fail(own.why);
}

/** The text without our marks: what a person sees of it. */
const shown = (text: string): string => text.replaceAll(/^# (>>>|<<<) entrepot node (\S+).*$/gm, "# $1 $2");

const part = `# >>> a
[host."${mirror}"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"
# <<< a
`;

describe("a hosts.toml with the mirror", () => {
  const cases: [name: string, before: string, after: string][] = [
    ["an empty file", "", part],
    ["a server alone", 'server = "https://x"\n', `server = "https://x"\n${part}`],
    [
      "root keys and hosts, of which the first has a comment",
      'server = "https://x"\n\n# ours\n# and fast\n[host."https://m"]\nskip_verify = true\n',
      `server = "https://x"\n\n${part}# ours\n# and fast\n[host."https://m"]\nskip_verify = true\n`,
    ],
    ["no line break at the end", 'server = "https://x"', `server = "https://x"\n${part.trimEnd()}`],
    ["Windows' line breaks", 'server = "x"\r\n[host."y"]\r\n', `server = "x"\r\n${part}[host."y"]\r\n`],
    [
      "lists and strings with lines like tables",
      'client = [\n["a", "b"],\n  [ "c", "d" ],\n]\nx = """\n[host.y]\n"""\n  [host."z"]\n',
      `client = [\n["a", "b"],\n  [ "c", "d" ],\n]\nx = """\n[host.y]\n"""\n${part}  [host."z"]\n`,
    ],
    ["a string whose last line is like a comment", 'x = """\n# """\n[host.y]\n', `x = """\n# """\n${part}[host.y]\n`],
    ["a table named host", "[host]\n[host.y]\n", `${part}[host]\n[host.y]\n`],
    ["a comment alone", "# nothing", `# nothing\n${part.trimEnd()}`],
  ];
  for (const [name, before, after] of cases) {
    test(name, () => {
      const text = add(before);
      assert.equal(shown(text), after);
      assert.equal(add(text), text);
      assert.equal(remove(text), before);
    });
  }

  const refused: [name: string, text: string, why: RegExp][] = [
    ["no TOML", "[host", /^it is no valid TOML: /],
    ["the same host, in another form", `[host."${mirror}/v2"]\n`, /is one of its hosts already/],
    ["hosts in a closed table", 'host = {"https://m" = {}}\n', /^there is no place in it/],
    ["a host that is none", "host = 1\n", /^there is no place in it/],
    ["a byte order mark", '\uFEFFserver = "x"\n', /byte order mark/],
  ];
  for (const [name, text, why] of refused) {
    test(`${name} is left alone`, () => assert.match(refusal(text), why));
  }

  test("a root key that somebody adds behind our part is the file's, not our host's", () => {
    const text = add(`${add(undefined)}server = "https://x"\n`);
    assert.equal(shown(text), `server = "https://x"\n${part}`);
    assert.equal((parse(text) as { server: string }).server, "https://x");
  });

  test("a host that somebody puts before ours comes second again", () => {
    const text = add(`[host.y]\n${add(undefined)}`);
    assert.equal(shown(text), `${part}[host.y]\n`);
  });

  test("a new address takes the place of the old one", () => {
    const text = add(add("[host.y]\n"), { mirror: "http://b.example.com" });
    assert.deepEqual(Object.keys((parse(text) as { host: TomlTable }).host), ["http://b.example.com", "y"]);
    assert.equal(remove(text), "[host.y]\n");
  });

  test("our part that somebody has edited is no longer ours", () => {
    const text = add("[host.y]\n");
    const edits = [
      text.replace("2s", "9s"),
      text.replace('"resolve"]', '"resolve"]\n  skip_verify = true'),
      text.replace("made=", "made=folder"),
      text.replace(/^# <<<.*\n/m, ""),
      text.replaceAll("\n", "\r\n"),
      text + text.slice(0, text.indexOf("[host.y]")),
    ];
    for (const edited of edits) {
      assert.match(refusal(edited), /somebody has edited/, edited);
      assert.ok("why" in takeOut(edited, "a"), edited);
    }
  });
});

describe("certificates in the folder, which containerd reads only without a hosts.toml", () => {
  const certificates = { ca: ["ca.crt"], client: [["a.cert", "a.key"]] } as const;

  test("are named in a new file", () => {
    const { ca, client, host } = parse(add(undefined, { certificates })) as Record<string, unknown>;
    assert.deepEqual([ca, client], [["ca.crt"], [["a.cert", "a.key"]]]);
    assert.deepEqual(Object.keys(host as object), [mirror]);
  });

  test("are not named in somebody's file, nor twice", () => {
    assert.deepEqual(Object.keys(parse(add("# mine\n", { certificates }))), ["host"]);
    const both = add(add(undefined, { certificates }), { owner: "b", mirror: "http://b", certificates });
    assert.deepEqual(Object.keys((parse(both) as { host: object }).host), [mirror, "http://b"]);
    // Who stays names them when the other goes.
    const rest = add(remove(both), { owner: "b", mirror: "http://b", certificates });
    assert.deepEqual(parse(rest)["ca"], ["ca.crt"]);
  });

  test("go with our part", () => assert.equal(remove(add(undefined, { certificates })), ""));
});

describe("several owners in one file", () => {
  test("each has its part, stays where it is, and goes alone", () => {
    const one = add('server = "x"\n[host.y]\n');
    const two = add(one, { owner: "b", mirror: "http://b" });
    assert.equal(add(two), two);
    assert.equal(add(two, { owner: "b", mirror: "http://b" }), two);
    assert.equal(remove(two, "b"), one);
    assert.equal(remove(remove(two), "b"), 'server = "x"\n[host.y]\n');
  });

  test("who comes second inherits what the first has made", () => {
    const two = add(add(undefined, { made: ["root", "folder", "file"] }), { owner: "b", mirror: "http://b" });
    const rest = takeOut(remove(two), "b");
    assert.deepEqual(rest, { rest: "", at: 0, made: ["root", "folder", "file"] });
  });

  test("one owner's name may begin like another's", () => {
    const text = add(add(undefined, { owner: "a.b", mirror: "http://b" }));
    assert.deepEqual(
      findParts(remove(text)).map(({ owner }) => owner),
      ["a.b"],
    );
  });
});

const line = fc.constantFrom("\n", "\r\n");
const value = fc.oneof(
  fc.string().map((text) => JSON.stringify(text).replaceAll("\u007F", "")),
  fc.stringMatching(/^[a-z[\]# "\n]{0,20}$/).map((text) => `'''${text}'''`),
  fc.stringMatching(/^[a-z[\]#' \n]{0,20}$/).map((text) => `"""${text}"""`),
  fc
    .array(fc.constantFrom('"a"', '"["', '\n["a", "b"]', "\n  [ 'c' ] # x\n"), { maxLength: 3 })
    .map((all) => `[${all.join(", ")}]`),
  fc.constantFrom("true", "1", "-0.5", "1979-05-27T07:32:00Z", "nan", '{ a = 1, "b" = [2] }'),
);
const name = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const comment = fc.stringMatching(/^[a-zé [\]"'#=\u2028]{0,20}$/).map((text) => `#${text}`);
const filler = fc.oneof(comment, fc.constantFrom("", "  ", "\t# x"));
const pair = fc.tuple(name, value).map(([key, text]) => ({ key, text: `${key} = ${text}` }));
const header = fc.tuple(fc.constantFrom("", "  "), fc.uniqueArray(name, { minLength: 1, maxLength: 1 }), fc.boolean());
const table = fc.record({
  header,
  pairs: fc.uniqueArray(pair, { selector: ({ key }) => key, maxLength: 3 }),
  fillers: fc.array(filler, { maxLength: 3 }),
});
/** Any `hosts.toml`: root keys, hosts with what they have, comments, and both kinds of line breaks. */
const foreignFile = fc
  .record({
    root: fc.uniqueArray(pair, { selector: ({ key }) => key, maxLength: 4 }),
    fillers: fc.array(filler, { maxLength: 3 }),
    tables: fc.uniqueArray(table, { selector: (each) => each.header[1][0], maxLength: 4 }),
    lineBreak: line,
    endsWithBreak: fc.boolean(),
  })
  .map(({ root, fillers, tables, lineBreak, endsWithBreak }) => {
    const lines = [...root.filter(({ key }) => key !== "host").map(({ text }) => text), ...fillers];
    for (const {
      header: [indent, [host], hasHeader],
      pairs,
      fillers: more,
    } of tables) {
      lines.push(
        ...more,
        `${indent}[host."https://${host}"] # x`,
        ...pairs.filter(({ key }) => key !== "header").map(({ text }) => text),
      );
      if (hasHeader) lines.push(`[host."https://${host}".header]`, 'x = ["y"]');
    }
    return lines.join(lineBreak) + (endsWithBreak ? lineBreak : "");
  });

test("any other file means the same with our host, which is the first, and is as it was without", () => {
  fc.assert(
    fc.property(foreignFile, fc.boolean(), (before, hasOther) => {
      const file = hasOther ? add(before, { owner: "other", mirror: "http://other" }) : before;
      const text = add(file);
      assert.equal(add(text), text, "writing again changes something");
      assert.equal(remove(text), file);
      assert.equal(withoutParts(text), before);
      assert.equal(remove(remove(text, "other")), before);
      const { host, ...others } = parse(text);
      const { [mirror]: ours, "http://other": _, ...hosts } = host as TomlTable;
      const { host: hostsBefore = {}, ...othersBefore } = parse(before);
      assert.deepEqual({ ...others }, { ...othersBefore });
      assert.deepEqual({ ...hosts }, { ...(hostsBefore as object) });
      assert.deepEqual({ ...(ours as object) }, { capabilities: ["pull", "resolve"], dial_timeout: "2s" });
      const ranks = ['"http://127', '"https://'].map((start) => text.search(new RegExp(`^ *\\[host\\.${start}`, "m")));
      assert.ok(ranks[1] === -1 || (ranks[0] ?? 0) < (ranks[1] ?? 0), "ours is not the first");
    }),
    { numRuns: 500 },
  );
});
