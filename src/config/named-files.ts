import { createPrivateKey, X509Certificate } from "node:crypto";
import type { BucketConfig } from "./bucket-schema.ts";
import type { Problem } from "./problems.ts";
import type { EndpointConfig } from "./endpoint-schema.ts";
import type { UpstreamConfig } from "./upstream-schema.ts";
import { TextError } from "./text.ts";

const certificateBlock = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;
const encryptedKey = /^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/** Why a file cannot be read, in words, from the system's error or a `TextError`. */
export function explainReading(error: unknown): string {
  if (error instanceof TextError) {
    return error.message;
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "there is no such file",
    EACCES: "permission denied",
    EISDIR: "it is a folder",
    ENOTDIR: "a part of its path is no folder",
  };
  return reasons[code] ?? code;
}

/** What is wrong with certificates in PEM; `undefined`: nothing. */
function findCertificateFault(pem: string): string | undefined {
  const blocks = pem.match(certificateBlock) ?? [];
  if (blocks.length === 0) {
    return "it holds no certificate in PEM";
  }
  const readable = blocks.every((block) => attempt(() => new X509Certificate(block)) !== undefined);
  return readable ? undefined : "it holds a certificate that cannot be read";
}

/** What is wrong with a private key in PEM; `undefined`: nothing. */
function findKeyFault(pem: string, certificate: string | undefined): string | undefined {
  if (encryptedKey.test(pem)) {
    return "its key is encrypted, which is not supported";
  }
  const key = attempt(() => createPrivateKey(pem));
  if (key === undefined) {
    return "it holds no private key in PEM";
  }
  const shown = certificate === undefined ? undefined : attempt(() => new X509Certificate(certificate));
  return shown?.checkPrivateKey(key) === false ? "its key is not that of the certificate in client_cert" : undefined;
}

/** OpenSSL's own messages would help nobody. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/**
 * Looks at the certificates and keys that upstreams and the bucket name. Where one is missing, the registry could not be
 * asked, which nobody would see before the first pull.
 *
 * @param upstreams Those of the file, as they stand there.
 * @param readFile Reads a file whole; its error's `code` goes into the message.
 */
export function checkNamedFiles(
  upstreams: readonly UpstreamConfig[],
  bucket: Pick<BucketConfig, "caFile"> | undefined,
  readFile: (path: string) => Uint8Array,
): Problem[] {
  const problems: Problem[] = [];
  const checkFile = (
    path: Problem["path"],
    file: string | undefined,
    findFault: (content: string) => string | undefined,
  ): string | undefined => {
    if (file === undefined) {
      return undefined;
    }
    let content: string | undefined;
    let fault: string | undefined;
    try {
      // What stands around the blocks is in whichever encoding.
      content = Buffer.from(readFile(file)).toString("latin1");
      fault = findFault(content);
    } catch (error) {
      fault = explainReading(error);
    }
    if (fault !== undefined) {
      problems.push({ path, message: `${file} cannot be used: ${fault}` });
    }
    return content;
  };
  const checkEndpoint = ({ caFile, clientCert, clientKey }: EndpointConfig, path: Problem["path"]): void => {
    checkFile([...path, "ca_file"], caFile, findCertificateFault);
    const certificate = checkFile([...path, "client_cert"], clientCert, findCertificateFault);
    checkFile([...path, "client_key"], clientKey, (pem) => findKeyFault(pem, certificate));
  };
  checkFile(["storage", "s3", "ca_file"], bucket?.caFile, findCertificateFault);
  for (const [index, upstream] of upstreams.entries()) {
    checkEndpoint(upstream, ["upstreams", index]);
    for (const [position, mirror] of upstream.mirrors.entries()) {
      checkEndpoint(mirror, ["upstreams", index, "mirrors", position]);
    }
  }
  return problems;
}
