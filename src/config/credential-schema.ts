import * as z from "zod";
import type { NamePattern } from "../oci/name-pattern.ts";
import { filePath, fitting, list, pattern, secret, uncontrolled } from "./fields.ts";
import { provider, type ProviderConfig } from "./provider-schema.ts";
import { parseRepositoryPattern } from "./repository-names.ts";
import { assembled, type Kind, optional, type Report, required, setting, showAll, type Values } from "./setting.ts";

/** A user name for Basic authentication (RFC 7617 §2); messages do not repeat it. */
const username = secret(
  // oxlint-disable-next-line no-control-regex -- what is refused are the control characters
  fitting(/^[^:\x00-\x1f\x7f]+$/, "must not be empty, nor hold a colon or a control character"),
);

const password = secret(fitting(uncontrolled, "must not be empty, nor hold a control character such as a line's end"));

/** The keys of one account. */
const accountSettings = {
  username: optional("username", username).about(
    "The user name; together with `password` or `password_file`. Null for none.",
  ),
  password: optional("password", password).about(
    "The password or access token; together with `username`. Null for none.",
  ),
  passwordFile: optional("password_file", filePath).about(
    "A file whose text is the password, in place of `password`; it is read again when it changes. Null for none.",
  ),
  dockerConfig: optional("docker_config", filePath).about(
    "A Docker `config.json` with the credentials, in place of `username`: its `auths`, `credHelpers` and `credsStore` count. It is read again when it changes. Null for none.",
  ),
  credentials: optional("credentials", provider).about(
    "A cloud provider that the credentials come from, in place of `username`: `ecr`, `gcp` or `acr`, or a mapping that says more. They are renewed before they expire. Null for none.",
  ),
};

type AccountValues = Values<typeof accountSettings>;

/** Where an account's credentials come from. `${ENV}` in texts is filled in already. */
export type CredentialConfig =
  | { readonly kind: "password"; readonly username: string; readonly password: string }
  | { readonly kind: "password-file"; readonly username: string; readonly passwordFile: string }
  /** A Docker `config.json`, with its credential helpers. */
  | { readonly kind: "docker-config"; readonly path: string }
  | ProviderConfig;

const account: Kind<CredentialConfig> = {
  schema: assembled(accountSettings, (values, report): CredentialConfig => {
    if (givenNames(values).length === 0) {
      report({ path: [], message: "an account needs `username`, `docker_config` or `credentials`" });
    }
    return readAccount(values, report) ?? z.NEVER;
  }),
  show: (config) => showAll(accountSettings, accountValues(config)),
  settings: accountSettings,
};

/** The keys of one account, or of several. */
export const accountsSettings = {
  ...accountSettings,
  accounts: optional("accounts", list(account)).about(
    "Several accounts, in place of one; used in turn by what is left of their rate limits. Each has the keys of one. Null or none: anonymous.",
  ),
};

/** The values that `readAccounts` makes accounts of. */
export type AccountsValues = Values<typeof accountsSettings>;

const match = required("match", pattern(parseRepositoryPattern)).about(
  "The repositories: a name, or a pattern in which `*` stands for anything within a part of the name, and `**` for anything.",
);

/** Credentials for some of an upstream's repositories. */
export interface RepositoryCredentials {
  readonly match: NamePattern;
  /** None: these are asked for anonymously. */
  readonly accounts: readonly CredentialConfig[];
}

const byRepositorySettings = { match, ...accountsSettings };

const byRepository: Kind<RepositoryCredentials> = {
  schema: assembled(byRepositorySettings, (values, report, keys): RepositoryCredentials => {
    if (givenNames(values).length === 0 && keys["accounts"] === undefined) {
      report({ path: [], message: "needs credentials; `accounts: []` stands for none" });
    }
    return { match: values.match, accounts: readAccounts(values, report) };
  }),
  show: ({ match: repositories, accounts }) => {
    return showAll(byRepositorySettings, { match: repositories, ...accountsValues(accounts) });
  },
  settings: byRepositorySettings,
};

/** The keys that say how a registry is logged in to. */
export const credentialSettings = {
  ...accountsSettings,
  /** For repositories that match, in place of the accounts; the most specific pattern decides. */
  repositoryCredentials: setting("credentials_by_repository", list(byRepository), []).about(
    "Credentials for some repositories, in place of the others. Of several patterns that fit, the one that says most of the name decides.",
  ),
};

/** A user name with its password. */
export interface PasswordPair {
  readonly username: string;
  readonly password: string;
}

/** The schema of `--upstream-credentials`: namespaces with what to log in with. */
export const credentialsSchema: z.ZodType<Record<string, PasswordPair>> = z.record(
  z.string(),
  z.strictObject({ username: username.schema, password: password.schema }),
);

/** The accounts that keys stand for; none: anonymous. */
export function readAccounts(values: AccountsValues, report: Report): readonly CredentialConfig[] {
  const own = readAccount(values, report);
  const { accounts } = values;
  if (accounts === undefined) {
    return own === undefined ? [] : [own];
  }
  const [other] = givenNames(values);
  if (other !== undefined) {
    const { key } = accountSettings[other];
    report({ path: ["accounts"], message: `not together with \`${key}\`: put that account into the list` });
  }
  return accounts;
}

/** The values that stand for accounts in the file. */
export function accountsValues(accounts: readonly CredentialConfig[]): Partial<AccountsValues> {
  const [only] = accounts;
  return only !== undefined && accounts.length === 1 ? accountValues(only) : { accounts };
}

function accountValues(config: CredentialConfig): Partial<AccountValues> {
  if (config.kind === "docker-config") return { dockerConfig: config.path };
  return config.kind === "password" || config.kind === "password-file" ? config : { credentials: config };
}

/** The ways to log in of which an account has one, with their values. */
const forms: readonly (readonly (keyof AccountValues)[])[] = [
  ["username", "password", "passwordFile"],
  ["dockerConfig"],
  ["credentials"],
];

function givenNames(values: AccountValues): (keyof AccountValues)[] {
  return forms.flat().filter((name) => values[name] !== undefined);
}

function readAccount(values: AccountValues, report: Report): CredentialConfig | undefined {
  const given = givenNames(values);
  const [first] = given;
  if (first === undefined) {
    return undefined;
  }
  const { key } = accountSettings[first];
  const stranger = given.find((name) => !forms.some((form) => form.includes(first) && form.includes(name)));
  if (stranger !== undefined) {
    const path = [accountSettings[stranger].key];
    report({ path, message: `not together with \`${key}\`: an account has one of them` });
    return undefined;
  }
  const { username: user, password: own, passwordFile, dockerConfig, credentials } = values;
  if (dockerConfig !== undefined) {
    return { kind: "docker-config", path: dockerConfig };
  }
  if (credentials !== undefined) {
    return credentials;
  }
  if (user === undefined) {
    report({ path: [key], message: "needs a username with it" });
    return undefined;
  }
  if (own !== undefined && passwordFile !== undefined) {
    report({ path: ["password_file"], message: "not together with `password`: an account has one of them" });
    return undefined;
  }
  if (own !== undefined) {
    return { kind: "password", username: user, password: own };
  }
  if (passwordFile !== undefined) {
    return { kind: "password-file", username: user, passwordFile };
  }
  report({ path: ["username"], message: "needs a password or password_file with it" });
  return undefined;
}
