import { type Fault, faultsOf } from "../fault.ts";

export const hostedPush: readonly Fault[] = [
  ...faultsOf(
    "hosted/uploads",
    ["flow/hosted"],
    [
      {
        name: "any-repository",
        find: "update(`${namespace} ${repository} ${name}`)",
        replace: "update(name)",
        breaks: "an upload is gone on with in its repository alone",
      },
      {
        name: "any-place",
        find: "if (start !== undefined && start !== receivedBytes) throw",
        replace: "if (start !== undefined && start > receivedBytes) throw",
        breaks: "a chunk that does not begin where the upload has ended is not stored",
      },
      {
        name: "broken-put-kept",
        find: "TakenOver)) await this.#bytes.drop(opened.name);",
        replace: "TakenOver)) void 0;",
        breaks: "a PUT that was broken off is repeated whole",
        tests: ["flow/hosted-races"],
      },
      {
        name: "no-takeover",
        find: "before?.controller.abort(",
        replace: "void (",
        breaks: "who goes on with an upload does not wait for a client that has gone",
        tests: ["flow/hosted-races"],
      },
      {
        name: "signature-stored",
        find: "return { session, name, algorithm };",
        replace: "return { session, name: session, algorithm };",
        breaks: "no log tells by which name an upload can be gone on with",
        tests: ["flow/hosted-hostile"],
      },
      {
        name: "end-forgotten",
        find: "if (ended !== undefined || (receivedBytes === 0",
        replace: "if ((receivedBytes === 0",
        breaks: "what was to follow a commit, and failed, is done when the client asks again",
        tests: ["flow/hosted-full"],
      },
    ],
  ),
  ...faultsOf(
    "hosted/bucket-bytes",
    ["flow/hosted-replicas"],
    [
      {
        name: "flying-piece-removed",
        find: "(!isOurs || found.record",
        replace: "(found.record",
        breaks: "what one cancels while another instance ends it is a blob that is whole, or none",
      },
    ],
  ),
  ...faultsOf(
    "hosted/hosted",
    ["flow/hosted-full"],
    [
      {
        name: "counted-twice",
        find: "|| (await repositories.link(id, digest)) !== undefined) return;",
        replace: ") return;",
        breaks: "a quota that is full does not refuse what is there already",
      },
      {
        name: "immutable-moved",
        find: "assertMovable(rules, tag, current, digest);",
        replace: "",
        breaks: "an immutable tag stands for what it was pushed with",
        tests: ["flow/hosted"],
      },
    ],
  ),
];
