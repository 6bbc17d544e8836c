import { stringify } from "yaml";
import { hiddenText } from "./fields.ts";
import { type Config, showConfig } from "./file-schema.ts";
import { hideProxy } from "./proxy.ts";

/**
 * Writes a configuration as YAML with every key of the file, defaults included. It can be loaded again and then means
 * the same, except for user names, passwords and the values of headers, which are hidden. The token of the
 * administration is hidden by a text that is too short for one, so that nothing runs with a token that all know. The
 * environment's proxies stand above it as comments.
 */
export function formatConfig(config: Config): string {
  const { http, https, noProxy } = config.proxyEnvironment;
  const variables = [
    ["HTTP_PROXY", http && hideProxy(http, hiddenText)],
    ["HTTPS_PROXY", https && hideProxy(https, hiddenText)],
    ["NO_PROXY", noProxy === undefined ? undefined : JSON.stringify(noProxy)],
  ];
  const comments = variables.map(([name, value]) => (value === undefined ? "" : `# ${name} is ${value}\n`));
  // Equal parts would become anchors and aliases.
  return `${comments.join("")}${stringify(showConfig(config), { aliasDuplicateObjects: false })}`;
}
