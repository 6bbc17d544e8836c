import { isIPv6 } from "node:net";
import { formatListen, type ListenAddress, parseListen } from "./address.ts";
import { ValueError } from "./config-error.ts";
import { filePath, fitting, secret, text } from "./fields.ts";
import { assembled, type Kind, optional, type Report, required, showAll, type Values } from "./setting.ts";

function parsePeerListen(value: string): ListenAddress & { readonly kind: "tcp" } {
  const address = parseListen(value);
  if (address.kind !== "tcp") throw new ValueError("expected host:port, which the other replicas can reach");
  return address;
}

/** Reads `host`, `host:port` or either as a URL; IPv6 may lack its brackets where there is no port. */
function parseAdvertise(value: string): string {
  const text = isIPv6(value) ? `[${value}]` : value;
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  const isBare = url !== null && url.pathname === "/" && url.search === "" && url.hash === "" && !/[?#]/.test(text);
  if (!isBare || url.protocol !== "http:" || text.includes("@") || isAny(url.hostname)) {
    throw new ValueError("expected host or host:port, such as ${POD_IP}, where the other replicas reach this one");
  }
  const port = /:(\d+)\/?$/.exec(text)?.[1];
  return port === undefined ? url.hostname : `${url.hostname}:${Number(port)}`;
}

/** Whether a host means all addresses of a machine, however it is written. */
function isAny(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "");
  const { hostname } = URL.parse(`http://${bare.includes(":") ? `[${bare}]` : bare}/`) ?? {};
  return host === "" || hostname === "0.0.0.0" || hostname === "[::]";
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
    "What the others are told to reach this one at: `host` with the port of `listen`, such as `${POD_IP}`, or `host:port`. An IPv6 address needs no brackets where there is no port. Null for `listen`, which must be one address then.",
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
      message: `is required with listen: ${formatListen(listen)}: say where the others reach this one, such as \${POD_IP}`,
    });
  }
  if (advertise?.endsWith(`:${listen.port}]`) === true) {
    report({
      path: ["advertise"],
      message: "an IPv6 address has brackets before a port: write the address alone, as the port is that of `listen`",
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
