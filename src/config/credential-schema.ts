import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { parseFilePath, type Shape, text } from "./fields.ts";
import type { Problem } from "./messages.ts";
import { type Provider, type ProviderKeys, providerSetting, readProvider } from "./provider-schema.ts";
import { parseRepositoryPattern } from "./repository-names.ts";
import type { CredentialConfig, RepositoryCredentials } from "./schema.ts";

/** Checks a user name for Basic authentication (RFC 7617 §2); the message does not repeat it. */
function parseUsername(value: string): string {
  // oxlint-disable-next-line no-control-regex -- what is refused are the control characters
  if (value === "" || /[:\x00-\x1f\x7f]/.test(value)) {
    throw new ValueError("must not be empty, nor hold a colon or a control character");
  }
  return value;
}

function parsePassword(value: string): string {
  // oxlint-disable-next-line no-control-regex -- what is refused are the control characters
  if (value === "" || /[\x00-\x1f\x7f]/.test(value)) {
    throw new ValueError("must not be empty, nor hold a control character such as a line's end");
  }
  return value;
}

/** The keys of one account. */
interface AccountKeys {
  readonly username: string | null | undefined;
  readonly password: string | null | undefined;
  readonly password_file: string | null | undefined;
  readonly docker_config: string | null | undefined;
  readonly credentials: Provider | ProviderKeys | null | undefined;
}

const accountKeys: Shape<AccountKeys> = {
  username: text(parseUsername)
    .nullable()
    .optional()
    .meta({ description: "The user name; together with `password` or `password_file`. Null for none." }),
  password: text(parsePassword)
    .nullable()
    .optional()
    .meta({ description: "The password or access token; together with `username`. Null for none." }),
  password_file: text(parseFilePath).nullable().optional().meta({
    description:
      "A file whose text is the password, in place of `password`; it is read again when it changes. Null for none.",
  }),
  docker_config: text(parseFilePath).nullable().optional().meta({
    description:
      "A Docker `config.json` with the credentials, in place of `username`: its `auths`, `credHelpers` and `credsStore` count. It is read again when it changes. Null for none.",
  }),
  credentials: providerSetting.nullable().optional().meta({
    description:
      "A cloud provider that the credentials come from, in place of `username`: `ecr`, `gcp` or `acr`, or a mapping that says more. They are renewed before they expire. Null for none.",
  }),
};

/** Takes what is wrong, with its place below the keys that are read. */
type Report = (problem: Problem) => void;

const accountSchema = z.strictObject(accountKeys).transform((keys, context): CredentialConfig => {
  const account = readAccount(keys, (problem) => addProblem(context, problem));
  if (account === undefined && context.issues.length === 0) {
    const message = "an account needs `username`, `docker_config` or `credentials`";
    context.addIssue({ code: "custom", message });
  }
  return account ?? z.NEVER;
});

/** The keys of one account, or of several. */
interface AccountsKeys extends AccountKeys {
  readonly accounts: readonly CredentialConfig[] | null | undefined;
}

const accountsKeys: Shape<AccountsKeys> = {
  ...accountKeys,
  accounts: z.array(accountSchema).nullable().optional().meta({
    description:
      "Several accounts, in place of one; used in turn by what is left of their rate limits. Each has the keys of one. Null or none: anonymous.",
  }),
};

const byRepositorySchema = z
  .strictObject({
    match: text(parseRepositoryPattern).meta({
      description:
        "The repositories: a name, or a pattern in which `*` stands for anything within a part of the name, and `**` for anything.",
    }),
    ...accountsKeys,
  })
  .transform((keys, context): RepositoryCredentials => {
    const accounts = readAccounts(keys, (problem) => addProblem(context, problem));
    if (accounts.length === 0 && keys.accounts === undefined && context.issues.length === 0) {
      context.addIssue({ code: "custom", message: "needs credentials; `accounts: []` stands for none" });
    }
    return { match: keys.match, accounts };
  });

/** What the keys hold that say how a registry is logged in to. */
export interface CredentialKeys extends AccountsKeys {
  readonly credentials_by_repository: readonly RepositoryCredentials[];
}

/** The keys that say how a registry is logged in to. */
export const credentialKeys: Shape<CredentialKeys> = {
  ...accountsKeys,
  credentials_by_repository: z.array(byRepositorySchema).prefault([]).meta({
    description:
      "Credentials for some repositories, in place of the others. Of several patterns that fit, the one that says most of the name decides.",
  }),
};

/** A user name with its password. */
export interface PasswordPair {
  readonly username: string;
  readonly password: string;
}

/** The schema of `--upstream-credentials`: namespaces with what to log in with. */
export const credentialsSchema: z.ZodType<Record<string, PasswordPair>> = z.record(
  z.string(),
  z.strictObject({ username: text(parseUsername), password: text(parsePassword) }),
);

/** Hands a problem on to zod. */
export function addProblem(context: z.core.$RefinementCtx, { path, message }: Problem): void {
  context.addIssue({ code: "custom", path: [...path], message });
}

/** The accounts that keys stand for; none: anonymous. */
export function readAccounts(keys: AccountsKeys, report: Report): readonly CredentialConfig[] {
  const account = readAccount(keys, report);
  const { accounts } = keys;
  if (accounts === null || accounts === undefined) {
    return account === undefined ? [] : [account];
  }
  const [other] = givenKeys(keys);
  if (other !== undefined) {
    report({ path: ["accounts"], message: `not together with \`${other}\`: put that account into the list` });
  }
  return accounts;
}

/** The ways to log in of which an account has one, with their keys. */
const forms: readonly (readonly (keyof AccountKeys)[])[] = [
  ["username", "password", "password_file"],
  ["docker_config"],
  ["credentials"],
];

function givenKeys(keys: AccountKeys): (keyof AccountKeys)[] {
  return forms.flat().filter((key) => keys[key] !== undefined && keys[key] !== null);
}

function readAccount(keys: AccountKeys, report: Report): CredentialConfig | undefined {
  const given = givenKeys(keys);
  const [first] = given;
  const ownForm = forms.find((form) => form.some((key) => key === first)) ?? [];
  const stranger = given.find((key) => !ownForm.includes(key));
  if (stranger !== undefined) {
    report({ path: [stranger], message: `not together with \`${first}\`: an account has one of them` });
    return undefined;
  }
  const { username, password, password_file: passwordFile, docker_config: path, credentials } = keys;
  if (typeof path === "string") {
    return { kind: "docker-config", path };
  }
  if (credentials !== undefined && credentials !== null) {
    return readProvider(credentials);
  }
  if (first === undefined) {
    return undefined;
  }
  if (typeof username !== "string") {
    report({ path: [first], message: "needs a username with it" });
    return undefined;
  }
  if (typeof password === "string" && typeof passwordFile === "string") {
    report({ path: ["password_file"], message: "not together with `password`: an account has one of them" });
    return undefined;
  }
  if (typeof password === "string") {
    return { kind: "password", username, password };
  }
  if (typeof passwordFile === "string") {
    return { kind: "password-file", username, passwordFile };
  }
  report({ path: ["username"], message: "needs a password or password_file with it" });
  return undefined;
}
