import { formatListen, type ListenAddress, parseListen } from "./address.ts";
import { ValueError } from "./config-error.ts";
import { filePath, fitting, secret, text } from "./fields.ts";
import { assembled, type Kind, optional, type Report, required, showAll, type Values } from "./setting.ts";

function parsePeerListen(value: string): ListenAddress & { readonly kind: "tcp" } {
  const address = parseListen(value);
  if (address.kind !== "tcp") throw new ValueError("expected host:port, which the other replicas can reach");
  return address;
}

function parseAdvertise(value: string): string {
  const url = URL.parse(value.includes("://") ? value : `http://${value}`);
  const isBare = url !== null && url.pathname === "/" && url.search === "" && url.hash === "" && /:\d+\/?$/.test(value);
  if (!isBare || url.protocol !== "http:" || value.includes("@") || isAny(url.hostname)) {
    throw new ValueError("expected host:port, such as ${POD_IP}:5001, where the other replicas reach this one");
  }
  return url.origin;
}

/** Whether a host means all addresses of a machine, however it is written. */
function isAny(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "");
  const { hostname } = URL.parse(`http://${bare.includes(":") ? `[${bare}]` : bare}/`) ?? {};
  return hostname === "0.0.0.0" || hostname === "[::]";
}

/** Reads a secret that replicas share. */
export const parseSharedSecret: (text: string) => string = fitting(
  /^[\x21-\x7e]{32,}$/,
  "must be at least 32 printable ASCII characters, without spaces",
);
const sharedSecret = secret(parseSharedSecret);

const settings = {
  listen: required("listen", text(parsePeerListen, { show: formatListen })).about(
    "Where the other replicas reach this one, and nobody else needs to: `host:port`. It has a port of its own.",
  ),
  advertise: optional("advertise", text(parseAdvertise, { hasVariables: true })).about(
    "What the others are told to reach this one at: `host:port`, such as `${POD_IP}:5001`. Null for `listen`, which must be one address then.",
  ),
  secret: optional("secret", sharedSecret).about(
    "What all replicas sign their calls with: at least 32 printable characters, the same for all, and known to nobody else. Null where `secret_file` has it.",
  ),
  secretFile: optional("secret_file", filePath).about(
    "A file that holds the secret, in place of `secret`: one on each line while it is being changed, of which the first one signs. Null for none.",
  ),
  previousSecret: optional("previous_secret", sharedSecret).about(
    "Another secret that counts, while it is being changed. Null for none.",
  ),
};

/** How replicas on one bucket find and trust each other. */
export interface ReplicasConfig extends Values<typeof settings> {
  /** Null only where `secretFile` has it. */
}

function reportConflicts(
  { listen, advertise, secret: own, secretFile }: Values<typeof settings>,
  report: Report,
): void {
  if (advertise === undefined && isAny(listen.host)) {
    report({
      path: ["advertise"],
      message: `is required with listen: ${formatListen(listen)}: say where the others reach this one, such as \${POD_IP}:5001`,
    });
  }
  if ((own === undefined) === (secretFile === undefined)) {
    report({ path: ["secret"], message: "either `secret` or `secret_file` is required, the same for all replicas" });
  }
}

/** The mapping `replicas`. */
export const replicas: Kind<ReplicasConfig> = {
  schema: assembled(settings, (values, report): ReplicasConfig => {
    reportConflicts(values, report);
    return values;
  }),
  show: (values) => showAll(settings, values),
  settings,
};
